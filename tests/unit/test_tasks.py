import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from hilnas.tasks import TaskError
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.tasks.fashion_mnist import FashionMnist, FashionMnistOptions
from hilnas.tasks.image_folder import ImageFolder, ImageFolderOptions
from hilnas.tasks.npz import Npz, NpzOptions
from hilnas.tasks.resize import resize
from hilnas.tasks.split import CODES, LEFT_OUT, OPEN, assign_splits
from hilnas.testing import TaskContract


def pictures(count=60, classes=3, shape=(12, 10), seed=0):
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
    return x, np.arange(count, dtype=np.int64) % classes


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(
        gzip.compress(header + array.tobytes()) if path.suffix == ".gz" else header + array.tobytes()
    )


@pytest.fixture
def fashion_folder(tmp_path):
    for part, count in (("train", 200), ("t10k", 50)):
        x, y = pictures(count, 10, (28, 28), seed=count)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", x)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", y.astype(np.uint8))
    return tmp_path


class TestNpzWithSplit(TaskContract):
    @pytest.fixture
    def task(self, tmp_path):
        x, y = pictures()
        split = np.repeat([0, 1, 2], 20)
        np.savez(tmp_path / "a.npz", x=x, y=y, split=split, labels=np.array(["a", "b", "c"]))
        return Npz(NpzOptions(path=tmp_path / "a.npz"))


class TestNpzOfFloats(TaskContract):
    @pytest.fixture
    def task(self, tmp_path):
        x, y = pictures(shape=(9, 9, 3))
        np.savez_compressed(tmp_path / "a.npz", x=x / 25.5 - 3, y=y)
        return Npz(NpzOptions(path=tmp_path / "a.npz"))


class TestFashionMnist(TaskContract):
    @pytest.fixture
    def task(self, fashion_folder):
        return FashionMnist(FashionMnistOptions(folder=fashion_folder))


class TestImageFolder(TaskContract):
    @pytest.fixture
    def task(self, tmp_path):
        write_pictures(tmp_path, ["cat", "dog"])
        return ImageFolder(ImageFolderOptions(folder=tmp_path, size=16))


def write_pictures(folder, names, count=20, seed=0):
    generator = np.random.default_rng(seed)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_official_split_is_kept(tmp_path):
    x, y = pictures()
    split = np.repeat([0, 1, 2], 20)
    np.savez(tmp_path / "a.npz", x=x, y=y, split=split)
    task = Npz(NpzOptions(path=tmp_path / "a.npz"))
    assert np.array_equal(task.split("test").images[:, 0], x[split == 2])


def test_image_folder_with_official_split(tmp_path):
    for seed, part in enumerate(("train", "validation", "test")):
        write_pictures(tmp_path / part, ["cat", "dog"], 4 + seed, seed)
    task = ImageFolder(ImageFolderOptions(folder=tmp_path, size=16, colour="grey"))
    assert [len(task.split(name)) for name in ("train", "validation", "test")] == [8, 10, 12]
    assert task.shape == (1, 16, 16)
    assert task.labels == ("cat", "dog")


def test_splits_depend_on_the_seed_alone():
    first, again, other = (Digits(DigitsOptions(size=16), seed=s) for s in (0, 0, 1))
    assert np.array_equal(first.split("test").images, again.split("test").images)
    assert not np.array_equal(first.split("test").images, other.split("test").images)


def test_copies_of_a_picture_stay_together():
    x, y = pictures(40)
    images = np.concatenate([x, x])[:, None]
    codes = assign_splits(images, np.concatenate([y, y]), None, 0.25, 0.25, 0)
    assert np.array_equal(codes[:40], codes[40:])
    assert set(codes) == set(CODES.values())


def test_copies_of_official_test_pictures_leave_the_training_data():
    x, y = pictures(40)
    images = np.concatenate([x, x[:5]])[:, None]
    official = np.array([CODES["test"]] * 10 + [OPEN] * 35)
    codes = assign_splits(images, np.concatenate([y, y[:5]]), official, 0.2, 0.2, 0)
    assert (codes[:10] == CODES["test"]).all()
    assert (codes[40:] == LEFT_OUT).all()


def test_resize_keeps_what_it_can():
    images = np.full((1, 1, 8, 8), 100, np.uint8)
    assert np.allclose(resize(images, (5, 7)), 100)
    assert resize(images, (8, 8)).dtype == np.float32


def npz_with(tmp_path, **arrays):
    np.savez(tmp_path / "bad.npz", **arrays)
    return Npz(NpzOptions(path=tmp_path / "bad.npz"))


def bad_npz(case, tmp_path):
    x, y = pictures()
    floats = x.astype(np.float32)
    floats[7, 0, 0] = np.nan
    return {
        "no x": lambda: npz_with(tmp_path, y=y),
        "shape": lambda: npz_with(tmp_path, x=x[:, :, 0], y=y),
        "channels": lambda: npz_with(tmp_path, x=np.stack([x] * 4, -1), y=y),
        "labels short": lambda: npz_with(tmp_path, x=x, y=y[:-1]),
        "labels float": lambda: npz_with(tmp_path, x=x, y=y / 2),
        "labels negative": lambda: npz_with(tmp_path, x=x, y=y - 1),
        "one class": lambda: npz_with(tmp_path, x=x, y=np.zeros_like(y)),
        "nan": lambda: npz_with(tmp_path, x=floats, y=y),
        "split": lambda: npz_with(tmp_path, x=x, y=y, split=np.full(len(y), 5)),
        "no test": lambda: npz_with(tmp_path, x=x, y=y, split=np.zeros(len(y), np.uint8)),
        "tiny": lambda: npz_with(tmp_path, x=x[:, :4, :4], y=y),
        "pickled": lambda: npz_with(tmp_path, x=np.array([{}] * 60, dtype=object), y=y),
        "names": lambda: npz_with(tmp_path, x=x, y=y, labels=np.array(["one"])),
        "one name": lambda: npz_with(tmp_path, x=x, y=y, labels=np.array("one")),
        "ids": lambda: npz_with(tmp_path, x=x, y=y + 2**40),
    }[case]()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no x", 'no array "x"'),
        ("shape", r"shape \(60, 12\)"),
        ("channels", "1 or 3 channels"),
        ("labels short", "give one each"),
        ("labels float", "whole numbers"),
        ("labels negative", "from -1"),
        ("one class", "one class only"),
        ("nan", "NaN or infinite pixels, the first is number 7"),
        ("split", "split"),
        ("no test", "split is empty"),
        ("tiny", "too small"),
        ("pickled", "plain arrays"),
        ("names", "names 1 classes"),
        ("one name", "names 1 classes"),
        ("ids", "number the classes from 0"),
    ],
)
def test_bad_npz_is_a_clear_error(case, message, tmp_path):
    with pytest.raises(TaskError, match=message):
        _ = bad_npz(case, tmp_path).normalisation


def test_torn_npz_is_a_clear_error(tmp_path):
    x, y = pictures()
    np.savez_compressed(tmp_path / "a.npz", x=x, y=y)
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (whole[: len(whole) // 2], b"", whole[:200] + bytes(200) + whole[400:]):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(TaskError, match=r"a\.npz"):
            _ = Npz(NpzOptions(path=tmp_path / "a.npz")).normalisation


def test_an_npy_file_is_a_clear_error(tmp_path):
    np.save(tmp_path / "a.npy", pictures()[0])
    with pytest.raises(TaskError, match="a single array; save it with"):
        _ = Npz(NpzOptions(path=tmp_path / "a.npy")).normalisation


def test_an_npz_with_flipped_bytes_is_read_or_refused(tmp_path):
    x, y = pictures()
    np.savez(tmp_path / "a.npz", x=x, y=y)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    refused, generator = 0, np.random.default_rng(0)
    # The archive's directory, where a flip can lead anywhere.
    places = range(len(whole) - 140, len(whole))
    for place in places:
        torn = bytearray(whole)
        torn[place] ^= int(generator.integers(1, 256))
        (tmp_path / "a.npz").write_bytes(torn)
        try:
            Npz(NpzOptions(path=tmp_path / "a.npz")).read()
        except TaskError:
            refused += 1
    assert refused


def test_missing_files_say_what_to_set(tmp_path):
    for task in (
        Npz(NpzOptions(path=tmp_path / "none.npz")),
        FashionMnist(FashionMnistOptions(folder=tmp_path / "none")),
        FashionMnist(FashionMnistOptions(folder=tmp_path)),
        ImageFolder(ImageFolderOptions(folder=tmp_path / "none")),
    ):
        with pytest.raises(TaskError, match=r"set task\.(path|folder)"):
            _ = task.shape


def test_torn_idx_is_a_clear_error(fashion_folder):
    path = fashion_folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for content in (
        whole[:-40],
        gzip.compress(gzip.decompress(whole)[:-1]),
        gzip.compress(b"nothing"),
        whole[:30] + b"\xff" * 40 + whole[70:],
    ):
        path.write_bytes(content)
        with pytest.raises(TaskError, match="train-images-idx3-ubyte"):
            _ = FashionMnist(FashionMnistOptions(folder=fashion_folder)).shape


def test_shares_must_leave_training_data():
    with pytest.raises(ValueError, match="something to train on"):
        DigitsOptions(validation_share=0.6, test_share=0.4)


def test_torn_picture_is_named(tmp_path):
    write_pictures(tmp_path, ["cat", "dog"], 3)
    broken = tmp_path / "cat" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(TaskError, match=r"1\.png"):
        _ = ImageFolder(ImageFolderOptions(folder=tmp_path)).shape


def test_a_folder_of_one_class_is_refused(tmp_path):
    write_pictures(tmp_path, ["cat"], 3)
    with pytest.raises(TaskError, match="two at least"):
        _ = ImageFolder(ImageFolderOptions(folder=tmp_path)).shape


def test_pictures_that_hold_nothing_are_refused(tmp_path):
    x, y = pictures()
    np.savez(tmp_path / "blank.npz", x=np.full_like(x, 7), y=y)
    with pytest.raises(TaskError, match="every pixel of every picture is 7"):
        _ = Npz(NpzOptions(path=tmp_path / "blank.npz")).shape


def test_an_archive_without_examples_is_refused(tmp_path):
    np.savez(tmp_path / "empty.npz", x=np.zeros((0, 8, 8), np.uint8), y=np.zeros(0, np.int64))
    with pytest.raises(TaskError, match=r"empty\.npz"):
        _ = Npz(NpzOptions(path=tmp_path / "empty.npz")).shape
