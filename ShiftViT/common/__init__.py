"""What the five model folders share. Edited here only; `make sync` writes each folder's copy."""
