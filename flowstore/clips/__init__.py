"""Which flows a clip holds, and from which videos: rules on indices, free of torch.

Begin with `sampling`; `table` applies the rules to the videos of a store.
"""
