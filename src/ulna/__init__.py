"""ulna learns representations of motion from unlabelled skeleton sequences.

Typical use:

    import ulna

    clips = ulna.read("recordings/", format="npz")
    dataset = ulna.Dataset.write("dataset", clips)
    recipe = ulna.recipes.get_recipe("gl_transformer/nw_ucla_small").replace(split="holdout")
    model = ulna.pretrain(recipe, dataset, out="model")
    results = ulna.evaluate(model, dataset, ulna.protocols.Linear(), split="holdout")
    vectors = model.embed(clips)
"""

import lazy_loader

__version__ = "0.2.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
