"""What is kept and published: records of timings per machine (results/), the report page with its
charts, the READMEs' measured tables and the generated FAQ.
"""
