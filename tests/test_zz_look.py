import numpy as np
from conftest import *
from test_speed import small_pretext
from ulna.batch import Augmentation, ClipLoader
def test_look(dataset):
    load = ClipLoader(dataset, max_frames=12, device="cpu", is_resident=True)
    assert load.is_resident
    p = Disentangled(Disentangled.Config(max_frames=12), dataset.skeleton, dataset.num_persons)
    t = small_pretext(p)
    draw = Augmentation.draw(np.random.default_rng(0), 4)
    b = Augmentation()(p(load(np.arange(4))), draw, max_frames=12)
    sum(v.mean() for v in t.losses(b).values()).backward()
