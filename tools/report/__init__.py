"""results/: records of timings kept per machine, the report page with its charts, the READMEs'
measured tables and the generated FAQ.
"""
