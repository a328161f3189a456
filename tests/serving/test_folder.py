import pytest

from joulewise.serving.folder import Life, ModelFolder, Quality, Variant, checksum, read_folder, write_folder
from joulewise.vocabulary.errors import UsageError


def folder(place):
    (place / "fp32.onnx").write_bytes(b"large")
    (place / "int8.onnx").write_bytes(b"small")
    return ModelFolder(
        place,
        'a "model" \x7f\n',
        (
            Variant("fp32", place / "fp32.onnx", quality=Quality(0.92, 0.91, 0.93)),
            Variant(
                "int8",
                place / "int8.onnx",
                precision="int8",
                quality=Quality(0.915, 0.91, 0.92),
                joules={1: 0.002, 8: 0.001},
                seconds={1: 0.004},
                cold_start_s=0.25,
            ),
        ),
        metric="accuracy",
        views={"x": ("user spend", "user_mean")},
        life=Life(training_j=81000.0),
        left_out={"int4": "4.2 points below fp32"},
    )


def test_what_is_written_is_read_again(tmp_path):
    """A folder that is written says the same when it is read, with the checksum of each file."""
    made = folder(tmp_path)
    write_folder(made, card="# fashion\n")

    told = read_folder(tmp_path)

    assert (told.name, told.metric, told.views, told.life, told.left_out, told.card) == (
        made.name, "accuracy", made.views, made.life, made.left_out, "# fashion\n",
    )  # fmt: skip
    assert told.variant("int8").joules == {1: 0.002, 8: 0.001}
    assert told.variant("int8").quality == Quality(0.915, 0.91, 0.92)
    assert told.variant("int8").cold_start_j is None
    assert told.variant("int8").path == tmp_path / "int8.onnx"
    assert told.variant("int8").sha256 == checksum(tmp_path / "int8.onnx")


def test_a_single_file_is_a_folder_of_one(tmp_path):
    """An .onnx file is a model of which nothing is known but its file."""
    told = read_folder(tmp_path / "cnn.onnx")

    assert told.name == "cnn"
    assert [(one.name, one.quality, one.joules) for one in told.variants] == [("cnn", None, {})]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "schema is None"),
        ("schema = 2", "schema is 2"),
        ("schema = 1", "no \\[\\[variant\\]\\]"),
        ("schema = 1\nviews = 3\n[[variant]]\nname='a'\nfile='a.onnx'", "views is 3"),
        ("schema = 1\nnmae = 'x'\n[[variant]]\nname='a'\nfile='a.onnx'", "did you mean name"),
        ("schema = 1\n[[variant]]\nname='a'\nfile='a.pkl'", "needs a name that can stand in a URL"),
        ("schema = 1\n[[variant]]\nname='a/b'\nfile='a.onnx'", "needs a name that can stand in a URL"),
        ("schema = 1\n[[variant]]\nname='a'\nfile='../a.onnx'", "in the folder itself"),
        (
            "schema = 1\n[[variant]]\nname='a'\nfile='a.onnx'\n[[variant]]\nname='a'\nfile='b.onnx'",
            "same name",
        ),
        ("schema = 1\n[[variant]]\nname='a'\nfile='a.onnx'\nquality=[0.5,0.6,0.7]", "value, low, high"),
        ("schema = 1\n[[variant]]\nname='a'\nfile='a.onnx'\nquality=nan", "must be a number"),
        ("schema = 1\n[[variant]]\nname='a'\nfile='a.onnx'\njoules={x=1}", "size of a batch"),
        ("schema = 1\n[[variant]]\nname='a'\nfile='a.onnx'\ncold_start_s='soon'", "must be a number"),
        ("schema = 1\n[views]\nx=[]\n[[variant]]\nname='a'\nfile='a.onnx'", "name of a view"),
        ("schema = [", "cannot read"),
    ],
)
def test_a_wrong_manifest_is_one_line(tmp_path, text, says):
    """What is wrong in model.toml is said in one line that names the file."""
    (tmp_path / "model.toml").write_text(text)

    with pytest.raises(UsageError, match=says) as told:
        read_folder(tmp_path)

    assert "\n" not in str(told.value)
    assert "model.toml" in str(told.value)


def test_neither_folder_nor_onnx(tmp_path):
    """A pickle is refused; a folder without a manifest says what is missing."""
    with pytest.raises(UsageError, match="nothing is unpickled"):
        read_folder(tmp_path / "model.pkl")
    with pytest.raises(UsageError, match="cannot read"):
        read_folder(tmp_path)


def test_an_unknown_variant(tmp_path):
    """An unknown variant's message suggests the nearest."""
    write_folder(folder(tmp_path))

    with pytest.raises(UsageError, match="did you mean int8"):
        read_folder(tmp_path).variant("int9")
