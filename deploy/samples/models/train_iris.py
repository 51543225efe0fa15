"""Train the iris classifier and write it in two forms, with the answers scikit-learn itself gives.

usage: train_iris.py [FOLDER]     (FOLDER defaults to the folder of this file)

FOLDER/iris/model.onnx              input X float32 [?, 4]; outputs label int64 [?], probabilities float32 [?, 3]
FOLDER/iris-sklearn/model.joblib    the fitted scikit-learn pipeline
FOLDER/expected.json                inputs, labels and probabilities of scikit-learn, for the tests

Two runs with the packages of requirements.txt write the same bytes: the data ships with scikit-learn, the split
is seeded, the solver is deterministic and the ONNX graph has fixed names.
"""

import json
import pathlib
import sys

import joblib
import numpy
import sklearn
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    iris = load_iris()
    train_x, test_x, train_y, test_y = train_test_split(
        iris.data, iris.target, test_size=0.2, random_state=0, stratify=iris.target
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train_x, train_y)

    onnx = to_onnx(
        model,
        initial_types=[("X", FloatTensorType([None, 4]))],
        # Without zipmap the probabilities are a tensor, not a list of maps that no protocol can carry.
        options={id(model): {"zipmap": False}},
        name="iris",
        target_opset=17,
    )
    for name in ("iris", "iris-sklearn"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "iris" / "model.onnx").write_bytes(onnx.SerializeToString(deterministic=True))
    joblib.dump(model, folder / "iris-sklearn" / "model.joblib")

    # The ONNX model takes 32-bit floats, so scikit-learn is asked about the same rounded numbers.
    asked = test_x.astype(numpy.float32).astype(numpy.float64)
    expected = {
        "scikit-learn": sklearn.__version__,
        "accuracy": round(float(model.score(test_x, test_y)), 6),
        "classes": [str(name) for name in iris.target_names],
        "inputs": test_x.tolist(),
        "labels": model.predict(asked).tolist(),
        "probabilities": [[round(p, 9) for p in row] for row in model.predict_proba(asked).tolist()],
    }
    (folder / "expected.json").write_text(as_text(expected))
    print(f"accuracy on {len(test_y)} rows held out: {expected['accuracy']}")


def as_text(table: dict) -> str:
    """JSON with one line a row, as the repository's formatter wants it."""
    lines = []
    for key, value in table.items():
        if isinstance(value, list) and isinstance(value[0], list):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            lines.append(f"  {json.dumps(key)}: [\n{rows}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
