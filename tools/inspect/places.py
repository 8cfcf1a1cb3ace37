"""Where in the torch network a node of the ONNX is; without torch, which an NPU host has not."""


def place(name):
    """The module in a name: "/blocks/blocks.0/blocks.0.1/fc/Conv_output_0" → "blocks.0.1.fc"; ""
    when there is none."""
    parts = name.split("/")[1:-1]
    # A Sequential and its child are written as "blocks/blocks.0"; the child's part says both.
    after = [*parts[1:], ""]
    return ".".join(p for p, child in zip(parts, after) if not child.startswith(f"{p}."))
