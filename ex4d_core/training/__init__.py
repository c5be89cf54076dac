"""Training: clips to a dataset of latents (`prepare`), and from it EX-4D's LoRA and geometry encoder (`trainer`).

docs/training.md tells it from the user's side. Nothing is imported here: the trainer needs torch, the dataset's index
does not.
"""
