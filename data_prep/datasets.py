"""The data sets: where they come from, under which terms, and how their folders look."""

from vfs_jax.errors import InputError

_TEXTS = {
    "kinetics": """\
Kinetics-400, -600, -700: videos of ten seconds; training.
From: CVDF's mirror (github cvdfoundation/kinetics-dataset: k400_downloader.sh and its like).
Terms: the tables CC BY 4.0; the videos are YouTube's and their uploaders'.
Tree (archives may stay packed; replacements take the place of the corrupted videos):
  DIR/annotations/train.csv (or .txt)           label,youtube_id,time_start,time_end,split
  DIR/train/*.tar.gz or DIR/train/**/ID_SSSSSS_EEEEEE.mp4
  DIR/replacement/replacement_for_corrupted_k400.tgz or .../*.mp4
The downloader puts the archives into k400_targz and the tables into k400: to leave them packed,
ln -s ../k400/annotations k400_targz/ and give DIR=k400_targz; unpacked, give DIR=k400.
Then: vfs-prepare all --kinetics=DIR --split=train --out=RECORDS""",
    "davis": """\
DAVIS 2016 and 2017: short sequences with masks; evaluation of masks.
From: davischallenge.org, "TrainVal, 480p" of DAVIS 2017.
Terms: CC BY-NC 4.0; a few sequences are from YouTube.
Tree:
  DIR/JPEGImages/480p/SEQUENCE/00000.jpg
  DIR/Annotations/480p/SEQUENCE/00000.png       palette PNG, index = object
  DIR/ImageSets/2017/val.txt                    a sequence on each line
Then: vfs-eval --config=configs/davis.py --config.data=DIR""",
    "youtube-vos": """\
YouTube-VOS 2018 and 2019: objects that enter late, masks at some frames; evaluation of masks.
From: youtube-vos.org (registration; the validation scores are the server's).
Terms: those of its page; the videos are YouTube's and their uploaders'.
Tree:
  DIR/valid/JPEGImages/SEQUENCE/00000.jpg
  DIR/valid/Annotations/SEQUENCE/00000.png
  DIR/valid/meta.json""",
    "jhmdb": """\
JHMDB: sequences with 15 human joints in every frame; evaluation of key points.
From: jhmdb.is.tue.mpg.de (Rename_Images, joint_positions, splits).
Terms: those of its page.
Tree:
  DIR/Rename_Images/CLASS/SEQUENCE/00001.png    Frames/ serves too
  DIR/joint_positions/CLASS/SEQUENCE/joint_positions.mat
  DIR/splits/CLASS_test_split1.txt              sequence and 1 (train) or 2 (test)""",
    "vip": """\
VIP, Video Instance-level Parsing: 20 classes of body parts; evaluation of parts.
From: sysu-hcp.net/lip (VIP).
Terms: those of its page.
Tree:
  DIR/Images/VIDEO/*.jpg
  DIR/Annotations/Category_ids/VIDEO/*.png
  DIR/lists/val_videos.txt""",
    "tapvid": """\
TAP-Vid: points tracked through real videos; evaluation of points.
From: github google-deepmind/tapnet, "TAP-Vid" (tapvid_davis.zip holds one pickle).
Terms: the points CC BY 4.0; the videos keep DAVIS's.
Tree:
  DIR/tapvid_davis.pkl                          {name: {video, points, occluded}}
A pickle could run code: the reader here takes arrays, strings and bytes alone.""",
    "otb": """\
OTB-2013, -50, -100: sequences with one box a frame; evaluation of tracking.
From: the Visual Tracker Benchmark (cvlab.hanyang.ac.kr/tracker_benchmark).
Terms: those of its page.
Tree:
  DIR/SEQUENCE/img/0001.jpg
  DIR/SEQUENCE/groundtruth_rect.txt             x,y,w,h from 1; Jogging and Skating2 have .1.txt and .2.txt""",
    "got10k": """\
GOT-10k: sequences with one box a frame, the test boxes kept back; training of trackers.
From: got-10k.aitestunion.com (registration).
Terms: those of its page.
Tree:
  DIR/train/list.txt                            a sequence on each line
  DIR/train/GOT-10k_Train_000001/00000001.jpg
  DIR/train/GOT-10k_Train_000001/groundtruth.txt, absence.label, cover.label, cut_by_image.label, meta_info.ini
  DIR/val/..., DIR/test/...                     test has the first box alone""",
    "lasot": """\
LaSOT: long sequences, a folder a class; evaluation of tracking.
From: vision.cs.stonybrook.edu/~lasot (an archive a class).
Terms: those of its page; the videos are YouTube's and their uploaders'.
Tree:
  DIR/CLASS/CLASS-N/img/00000001.jpg
  DIR/CLASS/CLASS-N/groundtruth.txt, full_occlusion.txt, out_of_view.txt
  DIR/testing_set.txt                           a sequence on each line""",
    "uav123": """\
UAV123 and UAV20L: sequences seen from drones; evaluation of tracking.
From: cemse.kaust.edu.sa/ivul/uav123.
Terms: those of its page.
Tree:
  DIR/data_seq/UAV123/FOLDER/000001.jpg         several sequences are cut from one folder
  DIR/anno/UAV123/SEQUENCE.txt                  x,y,w,h, NaN where there is no target; UAV20L/ beside it
  DIR/configSeqs.m                              folder, first and last frame of each sequence
Then: vfs-eval-tracker --config=configs/uav123.py --workdir=OUT --config.data=DIR --config.weights=HEAD""",
}


def help_text(name: str) -> str:
    """Return a data set's source, terms and tree of files, as vfs-prepare help prints them.

    Raises:
        InputError: no data set of that name; the message lists them.
    """
    if name not in _TEXTS:
        raise InputError(f"{name or 'no data set'}: help knows {', '.join(_TEXTS)}")
    return f"{_TEXTS[name]}\nDownloads are yours to make."
