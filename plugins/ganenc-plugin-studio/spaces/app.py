"""A Space: the studio, for all who come."""

import os

import torch
import uvicorn
from ganenc_plugin_studio.server import build_app

if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    app = build_app(os.environ.get("GANENC_MODEL"), local=False)
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ.get("PORT", 7860)))
