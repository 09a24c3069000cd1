"""Where the data sets come from, under which terms, and how their folders look: vfs-prepare help NAME."""

from vfs_jax.errors import InputError

_TEXTS = {
    "kinetics": """\
Kinetics-400, -600, -700: about 240,000, 480,000 and 650,000 clips of ten seconds; training.
From: CVDF's mirror (github cvdfoundation/kinetics-dataset lists the archives); K400 is about 450 GB.
Terms: the annotations are CC BY 4.0 (Google); the clips are YouTube's and their uploaders'.
Tree (archives may stay packed; replacements take the place of the corrupted clips):
  DIR/annotations/train.csv                     label,youtube_id,time_start,time_end,split
  DIR/train/*.tar.gz or DIR/train/**/ID_SSSSSS_EEEEEE.mp4
  DIR/replacement/replacement_for_corrupted_k400/*.mp4
Then: vfs-prepare all --kinetics=DIR --split=train --out=RECORDS""",
    "davis": """\
DAVIS 2016 and 2017: 50 and 90 (train and val) short sequences with masks; evaluation of masks.
From: davischallenge.org, "TrainVal, 480p" of DAVIS 2017 (about 800 MB).
Terms: CC BY-NC 4.0; a few sequences are from YouTube.
Tree:
  DIR/JPEGImages/480p/SEQUENCE/00000.jpg
  DIR/Annotations/480p/SEQUENCE/00000.png       palette PNG, index = object
  DIR/ImageSets/2017/val.txt                    a sequence on each line
Then: vfs-eval --config=configs/davis.py --config.data=DIR""",
    "youtube-vos": """\
YouTube-VOS 2018 and 2019: 474 and 507 validation sequences; objects enter late; masks every fifth frame.
From: youtube-vos.org (registration; the validation scores are the server's).
Terms: the annotations are CC BY 4.0; the videos are YouTube's and their uploaders'.
Tree:
  DIR/valid/JPEGImages/SEQUENCE/00000.jpg
  DIR/valid/Annotations/SEQUENCE/00000.png
  DIR/valid/meta.json""",
    "jhmdb": """\
JHMDB: 928 clips with 15 human joints in every frame; evaluation of key points.
From: jhmdb.is.tue.mpg.de (Rename_Images, joint_positions, splits).
Terms: for research; the page asks to cite Jhuang et al., ICCV 2013.
Tree:
  DIR/Rename_Images/CLASS/CLIP/00001.png        Frames/ serves too
  DIR/joint_positions/CLASS/CLIP/joint_positions.mat
  DIR/splits/CLASS_test_split1.txt              clip and 1 (train) or 2 (test)""",
    "vip": """\
VIP, Video Instance-level Parsing: 50 validation videos with 20 classes of body parts; evaluation of parts.
From: sysu-hcp.net/lip (VIP); the "Fine" archives.
Terms: for research.
Tree:
  DIR/Images/VIDEO/*.jpg
  DIR/Annotations/Category_ids/VIDEO/*.png
  DIR/lists/val_videos.txt""",
    "tapvid": """\
TAP-Vid: points tracked through real videos, DAVIS (30) and Kinetics (1,189); evaluation of points.
From: github google-deepmind/tapnet, "TAP-Vid" (tapvid_davis.zip holds one pickle).
Terms: the annotations are CC BY 4.0.
Tree:
  DIR/tapvid_davis.pkl                          {name: {video, points, occluded}}
A pickle can run code when it is opened: take it from that page alone.""",
    "otb": """\
OTB-2013, -50, -100: 50 to 100 sequences with one box a frame; evaluation of tracking.
From: the Visual Tracker Benchmark (cvlab.hanyang.ac.kr/tracker_benchmark).
Terms: for research; the page asks to cite Wu et al., TPAMI 2015.
Tree:
  DIR/SEQUENCE/img/0001.jpg
  DIR/SEQUENCE/groundtruth_rect.txt             x,y,w,h from 1; Jogging and Skating2 have .1.txt and .2.txt
Then: vfs-eval-tracker --config=configs/otb.py --config.data=DIR""",
    "got10k": """\
GOT-10k: 9,335 training sequences, 180 for validation, 180 whose boxes are kept back; training of the tracker.
From: got-10k.aitestunion.com (registration; about 70 GB).
Terms: CC BY-NC-SA 4.0.
Tree:
  DIR/train/list.txt                            a sequence on each line
  DIR/train/GOT-10k_Train_000001/00000001.jpg
  DIR/train/GOT-10k_Train_000001/groundtruth.txt, absence.label, cover.label, cut_by_image.label, meta_info.ini
  DIR/val/..., DIR/test/...                     test has the first box alone
Then: vfs-train-tracker --config=configs/siamfc.py --config.data=DIR""",
    "lasot": """\
LaSOT: 1,400 long sequences of 70 classes, 280 of them for testing; evaluation of tracking.
From: vision.cs.stonybrook.edu/~lasot (about 230 GB, an archive a class).
Terms: the annotations are Apache-2.0, for research; the videos are YouTube's and their uploaders'.
Tree:
  DIR/CLASS/CLASS-N/img/00000001.jpg
  DIR/CLASS/CLASS-N/groundtruth.txt, full_occlusion.txt, out_of_view.txt
  DIR/testing_set.txt                           a sequence on each line""",
    "vot": """\
VOT 2013 to 2022 (short-term): 16 to 62 sequences with boxes or polygons; evaluation of tracking.
From: votchallenge.net, or "vot initialize" of the official toolkit.
Terms: sequences keep those of their sources; for research.
Tree:
  DIR/list.txt                                  a sequence on each line
  DIR/SEQUENCE/00000001.jpg or DIR/SEQUENCE/color/00000001.jpg
  DIR/SEQUENCE/groundtruth.txt                  x,y,w,h or four corners x,y""",
}


def help_text(name: str) -> str:
    """What vfs-prepare help NAME prints.

    Raises:
      InputError: no data set of that name; the message lists them.
    """
    if name not in _TEXTS:
        raise InputError(f"{name or 'no data set'}: help knows {', '.join(_TEXTS)}")
    return f"{_TEXTS[name]}\nDownloads are yours to make."
