"""What people call, by the path that stands for it."""

ENTRIES = {
    "store": ["open_store", "FlowStore", "FlowClass", "Video"],
    "quantize": ["Quantizer"],
    "pipeline": ["extract"],
    "export": ["export"],
    "importer": ["import_flow"],
    "stats": ["stats"],
    "verify": ["verify"],
    "copying": ["copy"],
    "render": ["render"],
    "layouts": ["custom_layout", "find_layout"],
    "splits": ["read_hmdb51", "read_ucf101", "read_kinetics", "read_mmaction2"],
    "motion_fields": ["magnitude", "angle", "divergence", "curl"],
    "transforms": ["Crop", "Resize", "HorizontalFlip", "Normalize", "Compose"],
    "loaders": ["FlowClips"],
    "datasets": ["HMDB51", "UCF101", "Kinetics"],
}
