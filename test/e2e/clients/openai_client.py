"""Drives the gateway with the official openai client, unmodified. Usage: openai_client.py BASE_URL CHAT_MODEL
Prints one JSON object of what it saw; any exception is a failure."""

import json
import sys

import openai

base_url, model = sys.argv[1:3]
client = openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0)
seen = {"models": sorted(m.id for m in client.models.list().data)}
messages = [{"role": "system", "content": "You speak like the King James Bible."}, {"role": "user", "content": "And the LORD said unto"}]

whole = client.chat.completions.create(model=model, messages=messages, max_tokens=12, temperature=0, seed=7)
seen["chat"] = whole.choices[0].message.content
seen["completion_tokens"] = whole.usage.completion_tokens

chunks = []
usage = None
for chunk in client.chat.completions.create(
    model=model, messages=messages, max_tokens=12, temperature=0, seed=7, stream=True, stream_options={"include_usage": True}
):
    if chunk.choices and chunk.choices[0].delta.content:
        chunks.append(chunk.choices[0].delta.content)
    usage = chunk.usage or usage
seen["streamed"] = "".join(chunks)
seen["chunks"] = len(chunks)
seen["stream_usage"] = usage.completion_tokens

seen["completion"] = client.completions.create(model=model, prompt="In the beginning", max_tokens=8, temperature=0).choices[0].text
seen["retrieved"] = client.models.retrieve(model).id

try:
    client.chat.completions.create(model="no-such-model", messages=messages)
except openai.NotFoundError as error:
    seen["unknown_model"] = {"status": error.status_code, "code": error.code, "type": error.type}
try:
    client.chat.completions.create(model="iris", messages=messages)
except openai.BadRequestError as error:
    seen["wrong_kind"] = {"status": error.status_code, "type": error.type}

print(json.dumps(seen))
