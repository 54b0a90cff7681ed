"""A model: preprocessor, encoder and classifiers; a folder on disk."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ulna.core import (
    Clip,
    InputError,
    MissingError,
    Skeleton,
    UlnaWarning,
    Units,
    new_folder,
    refuse_existing,
    spread_evenly,
)
from ulna.dataset import Dataset, is_among
from ulna.encoders import Encoder
from ulna.encoders.pooling import check_pooling, embedding_dim
from ulna.models.change_points import Changes, change_points
from ulna.models.classifier import FOLDER, Classifier, ClassifierConfig
from ulna.models.decoding import Smoothing
from ulna.models.embedding import Embedder
from ulna.models.fitting import fit_classifier
from ulna.models.folder import (
    CARD,
    CONFIG,
    PRETEXT_WEIGHTS,
    WEIGHTS,
    ModelConfig,
    load_weights,
    read_model_config,
    read_seen,
    read_weights,
    write_model,
    write_seen,
)
from ulna.models.names import find_model
from ulna.models.recipe import Precision, Recipe
from ulna.models.stream import Stream, StreamOptions
from ulna.models.timeline import Scan, Timeline, persons_of, scan
from ulna.models.training_windows import TrainingWindows
from ulna.preprocessing import Preprocessor
from ulna.pretext import Pretext
from ulna.quality import plausibility

MOST_CHECKED = 20  # clips that are checked for plausibility


@dataclass(frozen=True)
class Prediction:
    """The class of one clip.

    Args:
        clip: Id of the clip.
        label: Most probable class.
        confidence: Its probability, 0 to 1.
        probabilities: (L,) probability of every class, in the order of the classifier's classes.
        novelty: Share of held-out training clips that are nearer to the others than this clip, 0 to 1; None if the
            classifier does not measure it.
    """

    clip: str
    label: str
    confidence: float
    probabilities: np.ndarray = field(repr=False)
    novelty: float | None = None


@dataclass(frozen=True)
class Model:
    """Turns clips into vectors or labels.

    Use `ulna.load` to open a model folder and `ulna.pretrain` to make one.

    Args:
        config: What the model is.
        encoder: The encoder, in eval mode.
        classifiers: Classifiers by name, which `predict` uses.
        path: Folder of the model, None if it was not saved.
        is_read_only: Whether the folder is a download, so that nothing is written into it.
    """

    config: ModelConfig
    encoder: Encoder = field(repr=False)
    classifiers: dict[str, Classifier] = field(default_factory=dict, repr=False)
    path: Path | None = None
    is_read_only: bool = False

    @property
    def recipe(self) -> Recipe:
        """The recipe the model was trained by."""
        return self.config.recipe

    @property
    def device(self) -> torch.device:
        """Device of the encoder."""
        return next(self.encoder.parameters()).device

    @property
    def name(self) -> str:
        """Name of the model's folder, or of its recipe if it was not saved."""
        return self.recipe.name if self.path is None else self.path.name

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """What turns clips into the encoder's input."""
        return self.config.build_preprocessor()

    @cached_property
    def pretext(self) -> Pretext:
        """The pretext task with its trained heads, in eval mode; MissingError if the model was saved without."""
        if self.path is None:
            raise MissingError("expected a model folder with a pretext task, found a model that was not saved")
        pretext = self.recipe.build_pretext(self.preprocessor.spec)
        weights = read_weights(self.path / PRETEXT_WEIGHTS) if pretext.heads() else {}
        load_weights(pretext, weights | pretext.encoder_state(self.encoder), self.path)
        return pretext.to(self.device).eval()

    def embed(
        self,
        clips: Sequence[Clip] | Dataset,
        *,
        pooling: str | None = None,
        match_joints: bool = False,
        precision: Precision = "32-true",
    ) -> np.ndarray:
        """Return one vector per clip.

        Args:
            clips: Clips, or a dataset.
            pooling: How the encoder's output is pooled; that of the recipe by default.
            match_joints: Accept clips of another skeleton and match joints by name.
            precision: Precision of the computation: "32-true", or "bf16-mixed", which is up to three times as fast on
                CPUs with bf16 instructions; vectors then differ by about 1 %.

        Returns:
            (N, E) float32.

        Raises:
            InputError: If skeleton or number of persons do not fit.
        """
        embedder = self.embedder(clips, pooling=pooling, match_joints=match_joints)
        return self._embed(replace(embedder, precision=precision), clips).numpy()

    def predict(
        self,
        clips: Sequence[Clip] | Dataset,
        *,
        classifier: str | None = None,
        unknown: float | None = None,
        match_joints: bool = False,
    ) -> list[Prediction]:
        """Return the class of each clip.

        Args:
            clips: Clips, or a dataset.
            classifier: Name of the classifier; may be left out if the model has only one.
            unknown: Label clips "unknown" that are farther from the training clips than held-out training clips are;
                at most about this share of clips like the training clips is then labelled so.
            match_joints: Accept clips of another skeleton and match joints by name.

        Raises:
            MissingError: If there is no such classifier. Train one with `fit`, or save one with `ulna.evaluate`.
            InputError: If skeleton or number of persons do not fit, or `unknown` is given and the classifier does not
                measure novelty, or has too few training clips for it.
        """
        chosen = self.classifier(classifier)
        if unknown is not None:
            chosen.check_unknown(unknown)
        encoder = self.encoder_of(chosen)
        embedder = self.embedder(clips, pooling=chosen.config.pooling, match_joints=match_joints)
        vectors = self._embed(replace(embedder, encoder=encoder), clips)
        ids = clips.ids if isinstance(clips, Dataset) else [clip.id for clip in clips]
        return [
            Prediction(name, answer.label, answer.confidence, answer.probabilities, answer.novelty)
            for name, answer in zip(ids, chosen.answers(vectors, unknown=unknown), strict=True)
        ]

    def timeline(
        self,
        recording: Clip,
        *,
        classifier: str | None = None,
        windows: Scan | None = None,
        smoothing: Smoothing | None = None,
        together: bool = False,
        match_joints: bool = False,
    ) -> list[Timeline]:
        """Return when something happens in a long recording: the classes of its frames, and events.

        The recording is cut into overlapping windows of several lengths, each is classified, and the probabilities of
        all windows that contain a frame are averaged.

        Args:
            recording: The recording.
            classifier: Name of the classifier; may be left out if the model has only one.
            windows: How the recording is cut; by default into windows as long as the clips that the classifier was
                trained on.
            smoothing: How probabilities become events; by default the most probable sequence of labels in which every
                change has a cost.
            together: Find one timeline for all persons, by the mean of their embeddings.
            match_joints: Accept a recording of another skeleton and match joints by name.

        Returns:
            One timeline per visible person, or one for all if `together`, or if the model encodes persons together.

        Raises:
            MissingError: If there is no such classifier. Train one with `fit`, or save one with `ulna.evaluate`.
            InputError: If skeleton or number of persons do not fit, or nobody is visible.
        """
        chosen = self.classifier(classifier)
        persons = self._persons_of(recording, together=together)
        embedder = self.embedder([persons[0][1]], pooling=chosen.config.pooling, match_joints=match_joints)
        embedder = replace(embedder, encoder=self.encoder_of(chosen))
        windows = windows or Scan()
        if not windows.windows:
            windows = windows.replace(windows=chosen.config.durations)
        return [
            scan(
                one,
                lambda clips: chosen(embedder.embed_clips(clips)).numpy(),
                chosen.config.classes,
                options=windows,
                smoothing=smoothing,
                person=name,
            )
            for name, one in persons
        ]

    def change_points(
        self,
        recording: Clip,
        *,
        options: Changes | None = None,
        pooling: str | None = None,
        match_joints: bool = False,
    ) -> list[Timeline]:
        """Return the parts of a long recording, cut where movement changes, without labels.

        Args:
            recording: The recording.
            options: Length of the windows that are compared, and the cost of a change.
            pooling: How the encoder's output is pooled; that of the recipe by default.
            match_joints: Accept a recording of another skeleton and match joints by name.

        Returns:
            One timeline per visible person, or one for all if the model encodes persons together, with the events
            "part 1", "part 2", and so on.

        Raises:
            MissingError: If ruptures is not installed.
            InputError: If skeleton or number of persons do not fit, or nobody is visible.
        """
        persons = self._persons_of(recording)
        embedder = self.embedder([persons[0][1]], pooling=pooling, match_joints=match_joints)
        return [
            change_points(one, lambda clips: embedder.embed_clips(clips).numpy(), options=options, person=name)
            for name, one in persons
        ]

    def _persons_of(self, recording: Clip, *, together: bool = False) -> list[tuple[str | None, Clip]]:
        """Return who is looked at alone, see `persons_of`; the whole recording if `together` or the model does so.

        Raises:
            InputError: If nobody is visible.
        """
        if not recording.visible.any():
            raise InputError(f"recording {recording.id!r}: expected a visible person, found none")
        together = together or self.encoder.spec.num_persons > 1
        return [(None, recording)] if together else persons_of(recording)

    def stream(
        self,
        *,
        fps: float,
        classifier: str | None = None,
        options: StreamOptions | None = None,
        skeleton: Skeleton | None = None,
        units: Units = "metres",
        match_joints: bool = False,
    ) -> Stream:
        """Return a stream that classifies movement while frames arrive.

        Args:
            fps: Frames per second of the stream.
            classifier: Name of the classifier; may be left out if the model has only one.
            options: Length of the window, how often to answer, and when to say "unknown".
            skeleton: Skeleton of the frames; the model's by default.
            units: Unit of the positions.
            match_joints: Accept another skeleton and match joints by name.

        Raises:
            MissingError: If there is no such classifier.
            InputError: If the skeleton does not fit, or the model encodes persons together.
        """
        chosen = self.classifier(classifier)
        skeleton = skeleton or self.config.skeleton
        preprocessor = self.preprocessor.matching() if match_joints else self.preprocessor
        preprocessor.check(skeleton, 1, self.config.data.dimensions)
        check_pooling(self.encoder, chosen.config.pooling)
        embedder = Embedder(self.encoder_of(chosen), preprocessor, chosen.config.pooling)
        return Stream(
            embedder, chosen, skeleton, fps=fps, options=options or StreamOptions(),
            dimensions=self.config.data.dimensions, units=units,
        )  # fmt: skip

    def fit(
        self,
        dataset: Dataset,
        *,
        split: str | None = None,
        labels: Mapping[str, str] | None = None,
        classifier: str = "fit",
        unlabelled: bool = True,
        windows: bool = False,
        pooling: str | None = None,
        match_joints: bool = False,
    ) -> Classifier:
        """Train a classifier on frozen embeddings of labelled clips, in seconds; `predict` can use it afterwards.

        Regularised logistic regression; the strength is chosen by cross-validation among the labelled clips. Clips
        without a label help if there are any: they take the labels of similar clips by label spreading.

        Args:
            dataset: Dataset with labels.
            split: Split whose labelled training clips are used; all labelled clips by default.
            labels: Names of classes by id of some clips; the dataset's labels by default.
            classifier: Name of the classifier, which replaces one of the same name. `save` writes it.
            unlabelled: Use clips without a label, of the split's training part or of the whole dataset.
            windows: Train on windows of recordings that are assembled from the labelled clips, too: timelines and
                streams, which see the middle of a movement or parts of two, are then more accurate.
            pooling: How the encoder's output is pooled; that of the recipe by default.
            match_joints: Accept clips of another skeleton and match joints by name.

        Raises:
            InputError: If fewer than two classes have labelled clips, or `labels` name none of the clips, or clips have
                several frame rates and `windows` are wanted.
        """
        clips = np.arange(dataset.num_clips) if split is None else dataset.split(split)[0]
        classes, numbers = dataset.classes, dataset.labels
        if labels is not None:
            classes = tuple(sorted(set(labels.values())))
            numbers = np.array([classes.index(labels[name]) if name in labels else -1 for name in dataset.ids])
        others = clips[numbers[clips] < 0] if unlabelled else clips[:0]
        clips = clips[numbers[clips] >= 0]
        numbers = numbers[clips]
        if len(np.unique(numbers)) < 2:
            raise InputError(f"{dataset.path}: expected labelled clips of at least two classes, found fewer")
        pooling = pooling or self.recipe.pooling
        embedder = self.embedder(dataset, pooling=pooling, match_joints=match_joints)
        config = ClassifierConfig.of(dataset, split, pooling, clips=clips, classes=classes)
        features, of_others = embedder.embed_dataset(dataset, np.concatenate([clips, others])).split(
            [len(clips), len(others)]
        )
        owners, recordings = dataset.owners[clips], np.array(dataset.recordings)[clips]
        if windows:
            added = TrainingWindows.of(dataset, clips, config.durations)
            features = torch.cat([features, embedder.embed_clips(added.clips)])
            known = np.concatenate([np.arange(len(clips)), added.sources])
            numbers, owners, recordings = numbers[known], owners[known], added.recordings[known]
        self.classifiers[classifier] = fit_classifier(
            features, numbers, config, unlabelled=of_others, groups=owners, recordings=recordings
        )
        return self.classifiers[classifier]

    def save(self, path: str | Path, *, half: bool = False) -> Model:
        """Write the model to a new folder, with its classifiers, a model card and the list of pretraining clips.

        Args:
            path: Folder to write; must not exist.
            half: Store the encoder's weights in half precision, in half the space; they are loaded as float32.

        Returns:
            The model of the new folder.

        Raises:
            ExistsError: If the folder exists.
            InputError: If the list of pretraining clips is damaged.
        """
        path = Path(path)
        refuse_existing(path)
        seen = None if self.path is None else read_seen(self.path)
        with new_folder(path) as folder:
            write_model(folder, self.config, self.encoder, half=half)
            if self.path is not None and (self.path / CARD).is_file():
                shutil.copyfile(self.path / CARD, folder / CARD)  # with what was measured
            if seen is not None:
                write_seen(folder, seen)
            for name, classifier in self.classifiers.items():
                classifier.save(folder / FOLDER, name)
        if half:
            return load(path, device=str(self.device))
        return replace(self, path=path, classifiers=dict(self.classifiers), is_read_only=False)

    def export(
        self,
        path: str | Path,
        *,
        classifier: str | None = None,
        pooling: str | None = None,
        skeleton: Skeleton | None = None,
        num_persons: int | None = None,
        dimensions: int | None = None,
        units: Units | None = None,
        licence: str = "",
        int8: bool = False,
    ) -> Path:
        """Write an ONNX file: one graph from joint positions to a vector and, with a classifier, to probabilities.

        `ulna.onnx.OnnxModel` runs it, with onnxruntime and numpy alone.

        Args:
            path: File to write; must not exist.
            classifier: Name of the classifier; may be left out if the model has only one, or none.
            pooling: How the encoder's output is pooled; that of the recipe by default. A classifier has its own.
            skeleton: Skeleton of the positions; the model's by default. Joints of another are matched by name.
            num_persons: Largest number of persons; the model's by default, or 2 if persons are encoded one by one.
            dimensions: 3, or 2 for positions in an image; those of the model's data by default.
            units: Unit of the positions; metres by default, or pixels for two dimensions.
            licence: Licence of the weights, which the file states.
            int8: Store the weights of linear layers as 8-bit integers.

        Returns:
            The path.

        Raises:
            ExistsError: If the file exists.
            MissingError: If there is no such classifier, or onnx or onnxscript is not installed.
            InputError: If the skeleton has no joints of the model, there are too many persons, or the classifier takes
                embeddings of another pooling.
        """
        from ulna.models.export import export_onnx

        chosen = self.classifier(classifier) if classifier is not None or self.classifiers else None
        own = self.preprocessor
        skeleton = skeleton or self.config.skeleton
        dimensions = dimensions or self.config.data.dimensions
        if num_persons is None:
            num_persons = 2 if own.any_clips else own.num_persons
        if num_persons < 1:
            raise InputError(f"num_persons: expected at least 1, found {num_persons}")
        preprocessor = own if skeleton == self.config.skeleton else own.matching()
        preprocessor.check(skeleton, num_persons, dimensions)
        encoder = self.encoder if chosen is None else self.encoder_of(chosen)
        own_pooling = self.recipe.pooling if chosen is None else chosen.config.pooling
        pooling = pooling or own_pooling
        check_pooling(encoder, pooling)
        if chosen is not None and pooling != own_pooling:
            raise InputError(f"pooling: expected that of the classifier, {own_pooling!r}, found {pooling!r}")
        export_onnx(
            Embedder(encoder, preprocessor, pooling),
            Path(path),
            skeleton=skeleton,
            num_persons=num_persons,
            dimensions=dimensions,
            units=units or ("pixels" if dimensions == 2 else "metres"),
            fps=own.fps or self.config.data.fps,
            name=self.name,
            classifier=chosen,
            licence=licence,
            int8=int8,
        )
        return Path(path)

    def random_init(self, seed: int) -> Model:
        """Return a model of the same architecture with randomly initialised weights, to compare with."""
        encoder = self.recipe.build_pretext(self.preprocessor.spec, seed=seed).encoder
        return Model(self.config, encoder.to(self.device).eval(), {}, None)

    def classifier(self, name: str | None = None) -> Classifier:
        """Return a classifier by name; the only one if no name is given."""
        if name is None and len(self.classifiers) == 1:
            return next(iter(self.classifiers.values()))
        if name is None or name not in self.classifiers:
            known = ", ".join(self.classifiers) or "none"
            wanted = "the name of a classifier" if name is None else f"classifier {name!r}"
            raise MissingError(
                f"model {self.name!r}: expected {wanted}, found classifiers: {known}. "
                "Name one of them, train one with `fit`, or save one with `ulna evaluate`."
            )
        return self.classifiers[name]

    def encoder_of(self, classifier: Classifier) -> Encoder:
        """Return the encoder whose embeddings a classifier takes; InputError if it belongs to another model."""
        encoder = self.encoder
        if classifier.encoder:
            encoder = self.random_init(0).encoder
            load_weights(encoder, dict(classifier.encoder), self.path or Path(self.name))
        expected = embedding_dim(encoder, classifier.config.pooling)
        if classifier.weight.shape[1] != expected:
            raise InputError(
                f"model {self.name!r}: expected a classifier of embeddings of width {expected}, found one of width "
                f"{classifier.weight.shape[1]}. Evaluate or fit again."
            )
        return encoder

    def count_seen(self, dataset: Dataset, clips: np.ndarray) -> int | None:
        """Return how many of some clips the model was pretrained on, in any dataset; None if that is not known.

        Args:
            dataset: Dataset of the clips.
            clips: (B,) their indices.
        """
        seen = None if self.path is None else read_seen(self.path)
        return None if seen is None else int(is_among(dataset.hashes.take(clips), seen["hash"]).sum())

    def embedder(
        self,
        clips: Sequence[Clip] | Dataset,
        *,
        pooling: str | None = None,
        match_joints: bool = False,
        check: bool = True,
    ) -> Embedder:
        """Return what embeds some clips; warns if their unit seems to be another than they state.

        Args:
            clips: Clips, or a dataset.
            pooling: How the encoder's output is pooled; that of the recipe by default.
            match_joints: Accept clips of another skeleton and match joints by name.
            check: Look at some clips for implausible units.

        Raises:
            InputError: If skeleton or number of persons do not fit.
        """
        preprocessor = self.preprocessor.matching() if match_joints else self.preprocessor
        if isinstance(clips, Dataset):
            preprocessor.check(clips.skeleton, clips.num_persons, clips.dimensions)
        else:
            if not len(clips):
                raise InputError("expected at least one clip, found none")
            for clip in clips:
                preprocessor.check(clip.skeleton, clip.num_persons, clip.dimensions)
        for message in plausibility(_some(clips)) if check else ():
            warnings.warn(message, UlnaWarning, stacklevel=3)
        pooling = pooling or self.recipe.pooling
        check_pooling(self.encoder, pooling)
        return Embedder(self.encoder, preprocessor, pooling)

    @staticmethod
    def _embed(embedder: Embedder, clips: Sequence[Clip] | Dataset) -> Tensor:
        if isinstance(clips, Dataset):
            clips.verify()
            return embedder.embed_dataset(clips, np.arange(clips.num_clips))
        return embedder.embed_clips(clips)


def _some(clips: Sequence[Clip] | Dataset) -> Sequence[Clip]:
    """Return some clips, spread over a dataset."""
    if not isinstance(clips, Dataset):
        return clips[:MOST_CHECKED]
    return [clips.clip(i) for i in spread_evenly(clips.num_clips, MOST_CHECKED)]


def load(path: str | Path, *, device: str = "auto", sha256: str | None = None) -> Model:
    """Open a model: a run of `ulna.pretrain`, what `Model.save` wrote, or a model on the Hugging Face Hub.

    Args:
        path: A folder, "ulna/NAME" for a model inside the package (`ulna models` lists them), or
            "hf://OWNER/NAME@COMMIT" for a model on the hub.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        sha256: SHA-256 hash that the file of the weights must have.

    Raises:
        MissingError: If the folder is not a model, or huggingface_hub is needed and not installed.
        InputError: If a model on the hub is not pinned, a file is damaged or has another hash, or the device is
            unknown.
    """
    source = find_model(path, sha256=sha256)
    path = source.folder
    chosen = choose_device(device)
    if not (path / WEIGHTS).is_file():
        raise MissingError(f"{path}: expected a model (a folder with {CONFIG} and {WEIGHTS}), found none")
    config = read_model_config(path)
    preprocessor = config.build_preprocessor()
    encoder = config.recipe.build_pretext(preprocessor.spec).encoder
    load_weights(encoder, read_weights(path / WEIGHTS), path / WEIGHTS)
    names = sorted(file.stem for file in (path / FOLDER).glob("*.safetensors"))
    classifiers = {name: Classifier.open(path / FOLDER, name) for name in names}
    return Model(config, encoder.to(chosen).eval(), classifiers, path, is_read_only=source.is_read_only)


def choose_device(device: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r}: expected 'auto', 'cpu' or 'cuda' ({error})") from None
    return chosen
