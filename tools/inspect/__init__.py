"""What explains and compares: a photograph's Top-5, torch beside the offline model, operators."""
