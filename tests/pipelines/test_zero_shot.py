from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models import SqueezeNet1_1_Weights

from collector import wordnet
from collector.errors import ServiceDown, UsageError
from collector.intake import take_in
from collector.records import Concept, Kept, License, Sighting
from collector.workspace import Workspace
from pipelines.features import features
from pipelines.machine import WORDNET
from pipelines.predict import judged
from pipelines.prelabel import prelabel
from pipelines.zero_shot import CLASSES, _above, owners, zero_shot
from tests.conftest import SHARED, need
from tests.pipelines.labeled import collect

Make = Callable[..., Workspace]
HORSE, ZEBRA, EQUINE, ROSE = "n02374451", "n02391049", "n02374149", "n04971313"
WEIGHTS = SHARED / "models" / "squeezenet1_1-imagenet.pth"


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a SqueezeNet that has learned nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet1_1.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


def trained_on(make_workspace: Make, network: Path) -> Workspace:
    return make_workspace(f'[train]\nbackbone = "squeezenet1_1"\nweights = "{network}"\n')


def test_the_table_holds_the_classes_in_the_order_in_which_networks_say_them() -> None:
    need(WORDNET)
    words, classes = wordnet.load(), list(_above())[:CLASSES]
    assert classes == sorted(classes)
    for name, wnid in zip(SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"], classes, strict=True):
        synset = words.synset(wnid)
        assert synset
        spelled = {word.lower().replace("_", " ").replace("-", " ") for word in synset.words}
        assert name.lower().replace("-", " ") in spelled or name in ("crane bird", "maillot tank suit")
        assert set(_above()[wnid]) == set(synset.above)


def test_classes_count_for_the_label_they_lie_under_and_all_others_for_none_of_them() -> None:
    owner = owners(Concept("horse", ("horse", "not-horse")), {"horse": HORSE})
    assert (owner == 0).sum() == 1  # the sorrel
    assert list(_above())[int(np.flatnonzero(owner == 0)[0])] == "n02389026"
    owner = owners(Concept("equids", ("equine", "zebra", "none")), {"equine": EQUINE, "zebra": ZEBRA})
    assert [int((owner == k).sum()) for k in range(3)] == [1, 1, 998]  # the lower label has the zebra


def test_what_imagenet_has_no_class_for_cannot_be_guessed() -> None:
    with pytest.raises(UsageError, match="none of ImageNet's 1,000 classes is a `rose`") as caught:
        owners(Concept("rose", ("rose", "not-rose")), {"rose": ROSE})
    assert "label some pictures by hand" in caught.value.hint


def test_the_guess_is_the_sum_of_the_networks_own_probabilities(make_workspace: Make, network: Path) -> None:
    ws = trained_on(make_workspace, network)
    images = sorted(collect(ws, each=2))
    guess = zero_shot(ws, ws.concept("horse"))
    said = guess.judge(features(ws, images, guess.backbone))
    assert said.shape == (4, 2)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    whole = torchvision.models.squeezenet1_1(weights=None).eval()
    whole.load_state_dict(torch.load(network, weights_only=True))
    preset = SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms(antialias=True)
    from PIL import Image

    pictures = [Image.open(ws.store.path(image)).convert("RGB") for image in images]
    with torch.inference_mode():
        expected = torch.softmax(whole(torch.stack([preset(each) for each in pictures])), dim=1)
    np.testing.assert_allclose(said[:, 0], expected[:, list(_above()).index("n02389026")].numpy(), rtol=0.02)


def test_the_models_name_says_that_it_is_not_calibrated_and_what_it_depends_on(
    make_workspace: Make, network: Path
) -> None:
    ws = trained_on(make_workspace, network)
    ws.concept("horse", create=True)
    ws.concept("zebra", create=True)
    names = [zero_shot(ws, ws.concept(name)).version for name in ("horse", "horse", "zebra")]
    assert names[0].startswith("squeezenet1_1-imagenet-not-calibrated-")
    assert names[0] == names[1] != names[2]


def test_a_backbone_without_classes_cannot_guess(make_workspace: Make) -> None:
    ws = make_workspace('[train]\nbackbone = "classic"\n')
    collect(ws, each=1)
    with pytest.raises(UsageError, match="`classic` knows no classes"):
        prelabel(ws, "horse", zero_shot=True)


def test_prelabel_guesses_without_any_label_and_only_for_the_pool(make_workspace: Make, network: Path) -> None:
    ws = trained_on(make_workspace, network)
    found = collect(ws, each=4)
    with pytest.raises(ServiceDown, match="4 predictions are saved"):
        prelabel(ws, "horse", zero_shot=True)
    frame = ws.catalog.frame("predictions")
    assert set(frame["image"]) == {image for image, (_, split) in found.items() if split == "train"}
    [row] = ws.catalog.frame("model_run").to_dict("records")
    assert (row["experiment"], row["id"]) == (None, frame["model_run"].unique()[0])


@pytest.mark.realdata
@pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the pretrained network in ../shared")
def test_a_real_network_ranks_horses_before_everything_else(make_workspace: Make) -> None:
    ws = trained_on(make_workspace, WEIGHTS)
    ws.concept("horse", create=True)
    truth = {}
    horses = sorted((SHARED / "data" / "horses").glob("*"))[:20]
    others = [path for path in sorted((SHARED / "data" / "imagen").glob("*.jpg"))[::40] if HORSE not in path.name]
    for path in (*horses, *others):
        seen = Sighting("test", path.name, path.as_uri(), License("unlicensed"), "horse", "horse")
        outcome = take_in(ws, path.read_bytes(), seen)
        assert isinstance(outcome, Kept)
        truth[outcome.image] = path in horses
    guess = zero_shot(ws, ws.concept("horse"))
    images = list(truth)
    said = judged(guess, images, features(ws, images, guess.backbone))
    order = sorted(said, key=lambda each: -each.probabilities["horse"])
    assert sum(truth[each.image] for each in order[: len(horses)]) >= 0.8 * len(horses)
