"""Records of timings, the report page, and the READMEs' measured tables."""
