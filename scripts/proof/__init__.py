"""What `scripts/prove_training.py` is made of: clips, a tiny VAE, a tiny base model, adapters, and their scores."""
