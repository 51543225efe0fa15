"""Drives the gateway with tritonclient's HTTP client, unmodified. Usage: triton_client.py HOST:PORT MODEL
Prints one JSON object of what it saw; any exception is a failure."""

import json
import sys

import numpy
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

url, model = sys.argv[1:3]
client = http.InferenceServerClient(url=url)
seen = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready(model),
    "unknown_ready": client.is_model_ready("no-such-model"),
    "server": client.get_server_metadata()["extensions"],
    "metadata": client.get_model_metadata(model),
    "index": client.get_model_repository_index(),
}
rows = numpy.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], dtype=numpy.float32)
name = seen["metadata"]["inputs"][0]["name"]


def infer(binary):
    tensor = http.InferInput(name, list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    outputs = [http.InferRequestedOutput(o["name"], binary_data=binary) for o in seen["metadata"]["outputs"]]
    answer = client.infer(model, [tensor], outputs=outputs, request_id="abc")
    return {o["name"]: answer.as_numpy(o["name"]).tolist() for o in seen["metadata"]["outputs"]}, answer.get_response()["id"]


seen["binary"], seen["id"] = infer(True)
seen["json"], _ = infer(False)

bad = http.InferInput(name, [1, 3], "FP32")
bad.set_data_from_numpy(numpy.zeros((1, 3), dtype=numpy.float32))
try:
    client.infer(model, [bad])
except InferenceServerException as error:
    seen["bad_shape"] = {"status": error.status(), "message": error.message()}
try:
    client.infer("no-such-model", [bad])
except InferenceServerException as error:
    seen["unknown"] = {"status": error.status(), "message": error.message()}

client.unload_model(model)
seen["ready_after_unload"] = client.is_model_ready(model)
client.load_model(model)
seen["ready_after_load"] = client.is_model_ready(model)
print(json.dumps(seen))
