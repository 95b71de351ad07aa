"""Auto-labelling: a recording -> a COCO-panoptic dataset of its key frames, with what is not sure as void."""
