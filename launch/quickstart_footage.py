"""Add real footage to composed sequences: some frames of two clips, the first of which has a mask drawn by hand.

  python launch/quickstart_footage.py CLIPS DAVIS

takes bikes.mp4 and carphone_pristine.mp4 of the folder CLIPS, the masks of launch/first_masks, and adds a sequence each
to the folder DAVIS, of DAVIS layout. What is there is left as it is.
"""

import argparse
import itertools
from pathlib import Path

from vfs_jax.data.images import encode_jpeg
from vfs_jax.data.text import read_text, write_text
from vfs_jax.data.video_files import Video

# Where the mask was drawn, and how many frames from there on hold no cut.
SHOTS = {"bikes": (192, 44), "carphone_pristine": (0, 60)}
MASKS = Path(__file__).parent / "first_masks"


def main() -> None:
    """Write the sequences, and then their names into the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("davis", type=Path)
    flags = parser.parse_args()
    names = flags.davis / "ImageSets/2017/val.txt"
    listed = read_text(names).split()
    for name, (first, count) in SHOTS.items():
        if name in listed:
            continue
        frames, masks = (flags.davis / kind / "480p" / name for kind in ("JPEGImages", "Annotations"))
        for folder in (frames, masks):
            folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(
            itertools.islice(Video(flags.clips / f"{name}.mp4").frames(), first, first + count)
        ):
            (frames / f"{number:05d}.jpg").write_bytes(encode_jpeg(frame[..., ::-1], quality=95))
        (masks / "00000.png").write_bytes((MASKS / f"{name}.png").read_bytes())
        listed.append(name)
    write_text(names, "".join(f"{name}\n" for name in listed))


if __name__ == "__main__":
    main()
