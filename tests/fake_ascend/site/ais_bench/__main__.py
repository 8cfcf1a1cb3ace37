from ais_bench.infer.cli import main

main()
