"""``python -m ganenc``, which is also how ``accelerate launch -m ganenc`` starts it."""

from ganenc.cli import main

if __name__ == "__main__":
    main()
