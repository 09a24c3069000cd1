"""Turns videos into records that training reads.

  vfs-prepare all --videos=DIR --out=DIR [--short_side=256] [--fps=0] [--quality=90] [--workers=0] [--shards=0]

runs the four stages, each of which is a command of its own:

  vfs-prepare index --videos=DIR --out=DIR    lists the videos (or --list=FILE, --kinetics=DIR)
  vfs-prepare convert --out=DIR               decodes them into shards; run again, it goes on where it stopped
  vfs-prepare finalize --out=DIR              accounts for every video and writes the manifest
  vfs-prepare verify --out=DIR                compares the folder with the manifest

DIR/rejects.jsonl says which videos are no record, DIR/warnings.jsonl which decode in part, and DIR/not_indexed.txt
which files were passed over.

Options of Beam follow after two dashes: vfs-prepare convert --out=DIR --runner=FlinkRunner -- --flink_master=HOST:8081

  vfs-prepare compose --videos=FILE --out=DIR writes test sequences with exact ground truth over a video
  vfs-prepare show DIR                        prints counts, sizes and lengths, draws a contact sheet
  vfs-prepare help DATASET                    tells where a data set comes from and how its folder looks
"""

import contextlib
import dataclasses
import fcntl
import functools
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import tqdm
from absl import flags

from data_prep.datasets import help_text
from data_prep.decoding import ClipOptions
from data_prep.finalize import finalize, read_lines, shortfall
from data_prep.index import index_folder, index_list, read_tasks, write_index
from data_prep.kinetics import index_kinetics
from data_prep.show import contact_sheet, describe
from data_prep.verify import verify
from vfs_jax.apps import cli
from vfs_jax.claims import claim_folder, video_checksum
from vfs_jax.data.record_fields import read_manifest
from vfs_jax.data.text import write_text
from vfs_jax.errors import InputError

FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "Folder of the records.", flag_values=FLAGS)
flags.DEFINE_string("videos", None, "Folder of videos, searched recursively.", flag_values=FLAGS)
flags.DEFINE_string("list", None, "Text file: a video, and its label, on each line.", flag_values=FLAGS)
flags.DEFINE_string("kinetics", None, "Folder of Kinetics in CVDF's layout.", flag_values=FLAGS)
flags.DEFINE_string("split", "train", "Split of Kinetics.", flag_values=FLAGS)
flags.DEFINE_integer("shards", 0, "Number of shards; 0 for one per 128 videos, at least 16.", flag_values=FLAGS)
flags.DEFINE_integer(
    "short_side", 256, "Shorter side of the frames in pixels; 0 keeps each video's.", flag_values=FLAGS
)
flags.DEFINE_float("fps", 0.0, "Frames a second to keep; 0 keeps every frame.", flag_values=FLAGS)
flags.DEFINE_integer("quality", 90, "JPEG quality, 1 to 100.", flag_values=FLAGS)
flags.DEFINE_float(
    "clip_seconds", 0.0, "Cuts videos into clips of this length; 0 leaves them whole.", flag_values=FLAGS
)
flags.DEFINE_integer("workers", 0, "Decoding processes; 0 for one a core.", flag_values=FLAGS)
flags.DEFINE_string("runner", "DirectRunner", "Beam runner; see launch/prepare_*.sh for clusters.", flag_values=FLAGS)
flags.DEFINE_bool("graph", False, "convert prints its job graph and runs nothing.", flag_values=FLAGS)
flags.DEFINE_float("clip_timeout", 120.0, "Seconds that decoding a clip may take.", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "What compose draws from.", flag_values=FLAGS)
flags.DEFINE_integer("sample", 100, "Clips that verify decodes; -1 for all.", flag_values=FLAGS)


def run(arguments: list[str]) -> None:
    """Run the stage that the first argument names."""
    beam_options = [word for word in arguments if word.startswith("--")]
    stages: dict[str, Callable[[Path], None]] = {
        "index": _index,
        "convert": functools.partial(_convert, beam_options=beam_options),
        "finalize": _finalize,
        "verify": _verify,
        "all": functools.partial(_all, beam_options=beam_options),
        "show": _show,
        "compose": _compose,
    }
    stage, *rest = [word for word in arguments if not word.startswith("--")] or ["no stage"]
    if stage == "help":
        print(help_text(" ".join(rest)))
        return
    if stage not in stages:
        raise InputError(f"{stage}: the first argument is one of {', '.join(stages)}, help; see vfs-prepare --help")
    folders = rest + ([FLAGS.out] if FLAGS.out is not None else [])
    if len(folders) != 1:
        raise InputError(f"{stage} takes one folder of records, --out=DIR; {', '.join(folders) or 'none'} given")
    logging.getLogger().setLevel(logging.ERROR)  # Beam says at import which optional libraries it lacks
    out = Path(folders[0])
    with contextlib.nullcontext() if stage in ("verify", "show") else _alone_in(out):
        stages[stage](out)


def _options() -> ClipOptions:
    return ClipOptions(
        short_side=FLAGS.short_side, fps=FLAGS.fps, quality=FLAGS.quality, clip_seconds=FLAGS.clip_seconds
    )


def _all(out: Path, beam_options: list[str]) -> None:
    _options()  # out of range: nothing starts
    _index(out)
    _convert(out, beam_options)
    _finalize(out)
    _verify(out)


def _index(out: Path) -> None:
    sources = {"videos": FLAGS.videos, "list": FLAGS.list, "kinetics": FLAGS.kinetics}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise InputError("give the videos by one of --videos=DIR, --list=FILE and --kinetics=DIR")
    source = Path(sources[given[0]])
    print(f"index: looks for videos in {source}")
    passed_over: list[str] = []
    if FLAGS.kinetics is not None:
        kinetics = index_kinetics(source, FLAGS.split)
        entries, classes = kinetics.entries, kinetics.classes
    elif FLAGS.videos is not None:
        entries, classes = index_folder(source, pass_over=passed_over.append)
    else:
        entries, classes = index_list(source)
    shards = write_index(out, entries, classes, shards=FLAGS.shards)
    print(f"index: {len(entries)} videos in {shards} shards -> {out / 'index.jsonl'}")
    if FLAGS.kinetics is not None:
        for what in ("not_on_disk", "not_in_table", "doubled"):
            names = getattr(kinetics, what)
            write_text(out / f"{what}.txt", "".join(f"{name}\n" for name in names))
            print(f"index: {len(names)} {what.replace('_', ' ')} -> {out / what}.txt")
        _warn(shortfall(out, videos=len(entries)))
    if passed_over:
        write_text(out / "not_indexed.txt", "".join(f"{name}\n" for name in sorted(passed_over)))
        _warn([f"{len(passed_over)} files are no videos and passed over; {out / 'not_indexed.txt'} names them"])
    else:
        (out / "not_indexed.txt").unlink(missing_ok=True)


def _convert(out: Path, beam_options: list[str]) -> None:
    # Beam takes a second to import, which the other stages need not wait for.
    from data_prep.convert import convert, job_graph

    options = _options()
    tasks = read_tasks(out)
    size = f"shorter side {options.short_side}" if options.short_side else "size kept"
    rate = f"{options.fps:g} frames a second" if options.fps else "every frame"
    length = f", cut every {options.clip_seconds:g} s" if options.clip_seconds else ""
    videos = sum(task.videos for task in tasks)
    how = f"{size}, {rate}{length}, JPEG quality {options.quality}"
    print(f"convert: {videos} videos, {how} -> {len(tasks)} shards in {out}")
    job = {"clip_timeout": FLAGS.clip_timeout, "runner": FLAGS.runner, "beam_options": beam_options}
    if FLAGS.graph:
        print(job_graph(out, options, **job))
        return
    claim_folder(out, dataclasses.asdict(options))
    convert(out, options, workers=FLAGS.workers, **job)


def _finalize(out: Path) -> None:
    print(f"finalize: accounts for every video of {out / 'index.jsonl'}")
    manifest = finalize(out)
    print(
        f"finalize: {manifest['records']} records + {manifest['rejects']} rejects from {manifest['videos']} videos, "
        f"{manifest['frames']} frames, {manifest['bytes'] / 1e6:.1f} MB -> {out / 'manifest.json'}"
    )
    for reason, count in Counter(reject["reason"] for reject in read_lines(out, "rejects")).most_common(5):
        print(f"finalize: rejected {count}: {reason} (see {out / 'rejects.jsonl'})")
    _warn_of_manifest(out)


def _verify(out: Path) -> None:
    print(f"verify: compares {out} with its manifest")
    faults = verify(out, sample=FLAGS.sample)
    for fault in faults:
        print(f"verify: {fault}")
    if faults:
        raise InputError(f"{len(faults)} faults, the first: {faults[0]}; run vfs-prepare convert and finalize again")
    print(f"verify: {out} is as its manifest says")
    _warn_of_manifest(out)


def _show(out: Path) -> None:
    print(describe(out))
    _warn_of_manifest(out)
    contact_sheet(out).save(out / "contact_sheet.jpg", quality=90)
    print(f"contact sheet -> {out / 'contact_sheet.jpg'}")


def _warn_of_manifest(out: Path) -> None:
    manifest = read_manifest(out)
    counts = {"rejects": manifest["rejects"], "warnings": manifest.get("warnings", 0)}
    _warn(shortfall(out, videos=manifest["videos"], **counts))


def _compose(out: Path) -> None:
    from data_prep.compose import write_sequences  # needs SciPy, which nothing else here does

    if FLAGS.videos is None:
        raise InputError("compose takes the background, one video file, by --videos=FILE")
    print(f"compose: moves photographs over {FLAGS.videos} -> {out}/davis, otb, jhmdb")
    bar = functools.partial(tqdm.tqdm, desc="compose", unit="sequence")
    video = Path(FLAGS.videos)
    if not video.is_file():
        raise InputError(f"{video}: no such file; compose takes the background, one video file, by --videos=FILE")
    if FLAGS.seed < 0:
        raise InputError(f"seed={FLAGS.seed}: takes a number from 0")
    found = {"videos": FLAGS.videos, "video_found": video_checksum(video), "seed": FLAGS.seed}
    claim_folder(out, found, free=["videos"])
    write_sequences(out, video, seed=FLAGS.seed, progress=bar)


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Hold the folder for this run; after bad input none is left where this run made it and no shard was finished."""
    out.parent.mkdir(parents=True, exist_ok=True)
    made = True
    try:
        out.mkdir()
    except FileExistsError:
        if not out.is_dir():
            raise
        made = False
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{out}: another vfs-prepare is at work in this folder; wait for it to end") from None
        try:
            yield
        except InputError:
            if made and not any(out.glob("*.array_record-*")):
                shutil.rmtree(out)
            raise


def _warn(lines: list[str]) -> None:
    for line in lines:
        cli.warn("vfs-prepare", line)


def main() -> None:
    """Run the command."""
    cli.main(run, FLAGS, __doc__)


if __name__ == "__main__":
    main()
