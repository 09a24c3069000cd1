"""GOT-10k: follow the first frame's box with SiamFC on frozen res5 features, tracked as on OTB (see otb.py).

  vfs-eval-tracker --config=configs/got10k.py --workdir=runs/got10k --config.data=GOT-10k --config.weights=runs/siamfc

DATA: SPLIT/list.txt and SPLIT/NAME/00000001.jpg, groundtruth.txt, cover.label; boxes of "test" are for the server.
The toolkit's measures: AO, SR at 0.50 and 0.75. VFS published none.

Variants, comma-separated: r18, r50, smoke (three frames).
"""

import ml_collections


def get_config(variant: str = "r18") -> ml_collections.ConfigDict:
    """Return the release's settings, changed by the variants."""
    config = ml_collections.ConfigDict()
    config.task = "got10k"
    config.data = "data/GOT-10k"
    config.split = "val"  # val, train or test
    config.sequences = ""  # comma-separated names; all of the split where empty
    config.max_frames = ml_collections.config_dict.placeholder(int)  # None: whole sequences
    config.attributes = ""  # folder of SEQUENCE.txt with 0 or 1 for each attribute; none where empty
    config.attribute_names = ()  # in the files' order; numbers where empty

    config.weights = "random:0"  # a training folder, a checkpoint in it, a .pth, random:SEED; several, comma-separated
    config.depth = 18
    config.sequences_per_device = 1  # tracked at once; more where frames are read slower than they are tracked

    config.tracker = ml_collections.ConfigDict()
    config.tracker.head = ml_collections.config_dict.placeholder(bool)  # None: where the weights hold one
    config.tracker.out_scale = ml_collections.config_dict.placeholder(float)  # None: 1e-3, 1e-5 from ResNet-50 on
    config.tracker.exemplar_size = 120  # pixels of the patches
    config.tracker.search_size = 255
    config.tracker.context = 0.5  # around the box, a share of width + height
    config.tracker.scale_count = 3
    config.tracker.scale_step = 1.0375
    config.tracker.scale_rate = 0.59
    config.tracker.scale_penalty = 0.9745
    config.tracker.window_influence = 0.176
    config.tracker.response_cells = 17  # it has 18; see TrackerSettings
    config.tracker.response_upsampling = 16
    config.tracker.stride = 8

    config.published = ()
    variants = {
        "r18": {"depth": 18},
        "r50": {"depth": 50},
        "smoke": {"max_frames": 3},
    }
    for name in variant.split(","):
        if name not in variants:
            raise ValueError(f"got10k.py has the variants {', '.join(variants)}, not {name!r}")
        config.update(variants[name])
    return config
