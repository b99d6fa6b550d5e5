"""Serves one model file with llama.cpp's server: `llama_server.py MODEL_FILE PORT`, the key in the environment.

A process of its own, so that neither the model's memory nor a crash in native code touches Parley.
"""

import os
import signal
import sys

SLOTS = 4
SLOT_CONTEXT_TOKENS = 2048
THREADS = 2
ANSWER_MAX_TOKENS = 1024
# A system message that the caller didn't ask for makes so small a model worse: its own template's default one lets it
# answer simple questions with nonsense. This template adds none.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def main(model_file: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. What callers leave out is chosen to be repeatable: temperature 0."""
    import xllamacpp

    stop_signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    params = xllamacpp.CommonParams()
    params.model.path = model_file
    params.model_alias = {"smollm2-135m-instruct"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.api_keys = [os.environ.pop("PARLEY_LOCAL_MODEL_KEY")]
    params.endpoint_metrics = True
    params.endpoint_slots = False
    params.ui = False
    params.cors_origins = ""
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_CONTEXT_TOKENS
    params.n_predict = ANSWER_MAX_TOKENS
    params.cpuparams.n_threads = THREADS
    params.cpuparams_batch.n_threads = THREADS
    params.cache_ram_mib = 0
    params.fit_params = False
    params.chat_template = CHAT_TEMPLATE
    params.sampling.temp = 0.0
    params.verbosity = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"serving {os.path.basename(model_file)} at {server.listening_address}\n")  # noqa: PTH119
    sys.stdout.flush()
    signal.sigwait(stop_signals)
    # Native threads are still at work; leaving without unwinding them is quick and loses nothing.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
