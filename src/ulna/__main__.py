"""python -m ulna"""

from ulna.cli import main

main()
