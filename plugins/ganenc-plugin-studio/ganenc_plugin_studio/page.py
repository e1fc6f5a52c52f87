"""The page: what is on it, and which action stands behind what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from ganenc.measures import FALSE_ALARMS
from ganenc_plugin_hands.models import PHOTOS
from ganenc_registry import registry

from ganenc_plugin_studio.actions import FOUND, SLIDERS, Actions, class_choices
from ganenc_plugin_studio.ends import HAPPENED, classifiers
from ganenc_plugin_studio.models import choices
from ganenc_plugin_studio.session import Sessions
from ganenc_plugin_studio.stage import FILES, build_sliders, build_stage
from ganenc_plugin_studio.work import methods

__all__ = ["LOOK", "build_page"]

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
LOOK: dict[str, Any] = {
    "theme": gr.themes.Default(font=FONTS, font_mono=MONO, primary_hue="blue", radius_size="md", spacing_size="sm"),
    "css": (FILES / "page.css").read_text("utf-8"),
    "head": f"<script>{(FILES / 'paste.js').read_text('utf-8')}</script>",
}
"""How the page looks: no font is fetched."""
QUIET: dict[str, Any] = {"show_progress": "hidden"}
ENDS = {
    "explain": ["classifier", "target", "explain_steps"],
    "score": ["odd", "normal", "false_alarms"],
    "attribute": ["whose", "models", "attribute_steps"],
}
"""What else inverting is for, beside restoring: actions that change nothing of what is shown, and what they take."""


def build_page(sessions: Sessions) -> gr.Blocks:
    """The page of all sessions."""
    with gr.Blocks(title="ganenc studio", analytics_enabled=False, delete_cache=(600, 7200)) as page:
        gr.HTML("<h1>ganenc studio</h1><p>Drop a photo in, see it come back, move it.</p>", elem_id="heading")
        with gr.Row(equal_height=False, elem_id="room"):
            with gr.Column(scale=3, min_width=300):
                left = _left(sessions)
            with gr.Column(scale=4, min_width=320):
                middle = _middle(sessions)
            with gr.Column(scale=4, min_width=320):
                right = _right(sessions)
        parts = {**left, **middle, **right, **_several()}
        _bind(page, Actions(sessions, parts), parts)
    page.queue(default_concurrency_limit=None, api_open=True)
    return page


def _photo(**options: Any) -> gr.Image:
    """Takes a photo: its file as it is, which is read later, by who tells what is wrong with it in a sentence."""
    made = gr.Image(type="filepath", image_mode=None, **options)
    made.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return made


def _chosen(made: Any) -> Any:
    """Takes what was chosen as it is: what there is to choose is the session's, and whoever takes it looks."""
    made.preprocess = lambda payload: payload
    return made


def _left(sessions: Sessions) -> dict[str, Any]:
    """The model and the photo."""
    known, first = choices(), sessions.first
    model = sessions.models.get(first)
    if first not in [name for _, name in known]:
        known.insert(0, (Path(first).name, first))
    parts: dict[str, Any] = {
        "model": gr.Dropdown(known, value=first, label="Model", elem_id="model"),
        "model_told": gr.HTML(elem_id="model-told", apply_default_css=False),
        "checkpoint": gr.UploadButton(
            "Open a checkpoint", file_count="multiple", type="filepath", size="sm", elem_id="checkpoint"
        ),
        "photo": _photo(
            label="Photo", sources=["upload", "clipboard", "webcam"], height=230,
            buttons=["fullscreen"], elem_id="photo",
        ),
    }  # fmt: skip
    shown = sorted(PHOTOS.glob("*.jpg"))
    parts["examples"] = gr.Gallery(
        [str(one) for one in shown], label="Examples", columns=6, rows=2, height=124, allow_preview=False,
        show_label=False, interactive=False, buttons=[], object_fit="cover", elem_id="examples",
    )  # fmt: skip
    aligners = ["none", *(name for name in registry().names("aligner") if name != "box")]
    with gr.Row():
        parts["align"] = gr.Dropdown(aligners, value="none", label="Alignment", min_width=120, elem_id="align")
        parts["label"] = gr.Dropdown(
            class_choices(model),
            value=FOUND,
            label="Class",
            min_width=120,
            elem_id="label",
            visible=model.generator.spec.classes > 0,
        )
    parts["crop"] = build_stage(elem_id="crop")
    with gr.Row():
        parts["seed"] = gr.Number(0, label="Or draw an image, seed", precision=0, minimum=0, min_width=140, scale=2)
        parts["draw"] = gr.Button("Draw", min_width=80, scale=1, elem_id="draw")
    return parts


def _middle(sessions: Sessions) -> dict[str, Any]:
    """The photo and what came back, and the way there."""
    known = methods(sessions.models.get(sessions.first))
    parts: dict[str, Any] = {
        "wipe": gr.ImageSlider(
            label="Photo and what came back", type="filepath", format="png", max_height=560, interactive=False,
            buttons=["download", "fullscreen"], elem_id="wipe",
        ),
        "progress": gr.HTML(elem_id="progress", apply_default_css=False),
    }  # fmt: skip
    with gr.Row():
        parts["method"] = gr.Dropdown(known, value=known[0], label="Method", min_width=150, scale=2, elem_id="method")
        parts["steps"] = gr.Number(
            0, label="Steps (0: usual)", precision=0, minimum=0, min_width=150, scale=1, elem_id="steps"
        )
    with gr.Row():
        parts["refine"] = gr.Button("Refine", variant="primary", elem_id="refine")
        parts["stop"] = gr.Button("Stop here", elem_id="stop")
    parts["told"] = gr.HTML(elem_id="told", apply_default_css=False)
    with gr.Accordion("Take it along", open=False, elem_id="out"):
        with gr.Row():
            parts["kind"] = gr.Dropdown(
                [("no animation", ""), ("GIF", "gif"), ("WebP", "webp")], value="", label="Animation", min_width=130
            )
            parts["export"] = gr.Button("Make files", elem_id="export")
        parts["files"] = gr.File(label="Files", file_count="multiple", interactive=False, elem_id="files")
        parts["command"] = gr.Code(
            label="The same on the command line",
            language="shell",
            elem_id="command",
            wrap_lines=True,
            lines=2,
            max_lines=10,
        )
        parts["python"] = gr.Code(
            label="The same in Python", language="python", elem_id="python", wrap_lines=True, lines=2, max_lines=12
        )
    return parts


def _right(sessions: Sessions) -> dict[str, Any]:
    """What is done to the latents."""
    parts: dict[str, Any] = {}
    with gr.Row():
        parts["undo"] = gr.Button("Undo", size="sm", interactive=False, elem_id="undo")
        parts["redo"] = gr.Button("Redo", size="sm", interactive=False, elem_id="redo")
    with gr.Tabs():
        with gr.Tab("Directions"):
            parts["names"] = _chosen(gr.Dropdown(
                [], label="Sliders", multiselect=True, max_choices=SLIDERS, elem_id="names",
                info="Strengths are in deviations of the model's own latents.",
            ))  # fmt: skip
            parts["sliders"] = build_sliders(elem_id="sliders")
            parts["direction"] = gr.Textbox(visible=False, label="direction")
            parts["strength"] = gr.Number(visible=False, label="strength")
            with gr.Accordion("Find more", open=False):
                with gr.Row():
                    parts["count"] = gr.Number(
                        5, label="Principal components", precision=0, minimum=1, maximum=SLIDERS, min_width=120
                    )
                    parts["pca"] = gr.Button("Find", min_width=80, elem_id="pca")
                with gr.Row():
                    parts["first_set"] = gr.File(
                        label="Photos without it", file_count="multiple", type="filepath", height=110, min_width=140
                    )
                    parts["second_set"] = gr.File(
                        label="Photos with it", file_count="multiple", type="filepath", height=110, min_width=140
                    )
                with gr.Row():
                    parts["set_name"] = gr.Textbox("between", label="Call it", min_width=120)
                    parts["between"] = gr.Button("Find", min_width=80)
                parts["direction_files"] = gr.UploadButton(
                    "Open files of directions", file_count="multiple", type="filepath", size="sm"
                )
        with gr.Tab("Second photo"):
            parts["second"] = _photo(
                label="Second photo", sources=["upload", "clipboard"], height=200,
                buttons=[], elem_id="second",
            )  # fmt: skip
            parts["layers"] = _chosen(gr.CheckboxGroup(
                [], label="Layers that come from it: low ones hold shape, high ones colour", elem_id="layers"
            ))  # fmt: skip
            parts["mix"] = gr.Button("Mix", elem_id="mix")
            with gr.Row():
                parts["between_steps"] = gr.Slider(2, 48, 24, step=1, label="Steps of the way there", min_width=140)
                parts["between_kind"] = gr.Dropdown(
                    [("WebP", "webp"), ("GIF", "gif")], value="webp", label="Animation", min_width=100
                )
            parts["interpolate"] = gr.Button("Interpolate", elem_id="interpolate")
            parts["animation"] = gr.Image(
                label="The way there", type="filepath", interactive=False, buttons=["download"], elem_id="animation"
            )
        with gr.Tab("Drag", elem_id="drag-tab"):
            parts["stage"] = build_stage(elem_id="stage", nothing="Open a photo first.")
            with gr.Row():
                parts["drag"] = gr.Button("Drag", variant="primary", elem_id="drag")
                parts["stop_drag"] = gr.Button("Stop", elem_id="stop-drag")
            parts["drag_progress"] = gr.HTML(elem_id="drag-progress", apply_default_css=False)
        with gr.Tab("More"):
            parts |= _more(sessions)
    return parts


def _more(sessions: Sessions) -> dict[str, Any]:
    """What else inverting is for."""
    parts: dict[str, Any] = {}

    def ending(name: str, label: str, told: str) -> None:
        with gr.Row():
            parts[name] = gr.Button(label, variant="primary", elem_id=name)
            parts[f"{name}_halt"] = gr.Button("Stop")
        parts[f"{name}_told"] = gr.HTML(elem_id=f"{name}-told", apply_default_css=False)
        if told:
            parts[f"{name}_shown"] = _gallery(
                label=told, columns=1 if name == "explain" else 4, object_fit="contain", elem_id=f"{name}-shown"
            )

    def photos(label: str) -> gr.File:
        return gr.File(label=label, file_count="multiple", type="filepath", height=110, min_width=140)

    with gr.Accordion("Restore a photo", open=True):
        with gr.Row():
            parts["damaged"] = _photo(label="What was seen", sources=["upload", "clipboard"], height=150, buttons=[])
            parts["hidden"] = _photo(label="White where it is hidden", sources=["upload"], height=150, buttons=[])
        with gr.Row():
            parts["happened"] = gr.Dropdown([*HAPPENED], label="What happened", min_width=150, elem_id="happened")
            parts["amount"] = gr.Number(0, label="How much (0: usual)", minimum=0, min_width=150)
            parts["restore_steps"] = _steps()
        ending("restore", "Restore", "")
        parts["pasted"] = gr.Image(
            label="With what was seen put back", type="filepath", interactive=False, height=180, buttons=["download"],
            elem_id="pasted",
        )  # fmt: skip
    with gr.Accordion("Explain a classifier", open=False):
        with gr.Row():
            known = classifiers()
            own = sessions.models.get(sessions.first).backbone
            parts["classifier"] = gr.Dropdown(
                known, value=own if own in known else known[0], label="Classifier", min_width=130
            )
            parts["target"] = gr.Number(0, label="Is to say class", precision=0, minimum=0, min_width=130)
            parts["explain_steps"] = _steps()
        ending("explain", "Explain", "What it goes by, in what is shown")
    with gr.Accordion("Find what is odd", open=False):
        with gr.Row():
            parts["odd"], parts["normal"] = photos("Photos"), photos("Normal photos, 19 or more")
        parts["false_alarms"] = gr.Number(
            FALSE_ALARMS, label="Share of normal photos that may be called odd", minimum=0, maximum=1, step=0.01
        )
        ending("score", "Score", "Where they are odd")
    with gr.Accordion("Tell who made photos", open=False):
        parts["whose"] = photos("Photos")
        with gr.Row():
            parts["models"] = _chosen(gr.Dropdown(choices(), label="Models", multiselect=True, min_width=200))
            parts["attribute_steps"] = _steps()
        ending("attribute", "Tell", "As each model makes them again")
    return parts


def _steps() -> gr.Number:
    return gr.Number(0, label="Steps (0: usual)", precision=0, minimum=0, min_width=150)


def _gallery(**options: Any) -> gr.Gallery:
    return gr.Gallery(interactive=False, buttons=[], height="auto", **options)


def _several() -> dict[str, Any]:
    """Several photos, one after the other."""
    with gr.Accordion("Several photos", open=False, elem_id="several"):
        with gr.Row():
            queue = gr.File(label="Photos", file_count="multiple", type="filepath", height=140, elem_id="queue")
            with gr.Column():
                run = gr.Button("Invert all", elem_id="run-queue")
                halt = gr.Button("Stop")
                told = gr.HTML()
        gallery = _gallery(label="Choose one to go on with it", columns=8, allow_preview=False, elem_id="gallery")
    return {"queue": queue, "run_queue": run, "halt": halt, "queue_told": told, "gallery": gallery}


def _bind(page: gr.Blocks, actions: Actions, parts: dict[str, Any]) -> None:
    """Which action stands behind what. Names are those of endpoints; what has none is the page's own."""
    p, wipe, opened = parts, parts["wipe"], actions.opened()
    own: dict[str, Any] = {"api_visibility": "private", **QUIET}
    photo, going = [p["photo"], p["align"], p["label"]], [p["method"], p["steps"], p["label"]]
    changes = [
        p["model"].input(actions.choose_model, p["model"], opened, api_name="choose_model"),
        p["checkpoint"].upload(
            actions.open_checkpoint, p["checkpoint"], [p["model"], *opened], api_name="open_checkpoint"
        ),
        p["photo"].input(actions.open_photo, photo, wipe, api_name="open_photo", **QUIET),
        p["crop"].input(
            actions.move_crop, [p["crop"], p["label"]], wipe, api_name="move_crop", trigger_mode="always_last", **QUIET
        ),
        p["draw"].click(actions.draw, p["seed"], wipe, api_name="draw", **QUIET),
        p["refine"].click(actions.refine, going, [p["progress"], wipe], api_name="refine", **QUIET),
        p["strength"].input(actions.slide, [p["direction"], p["strength"]], wipe, api_name="slide", **QUIET),
        p["names"].input(actions.choose_sliders, p["names"], p["names"], api_name="choose_sliders", **QUIET),
        p["pca"].click(actions.find_components, p["count"], p["names"], api_name="find_components"),
        p["between"].click(
            actions.find_between, [p["first_set"], p["second_set"], p["set_name"]], p["names"], api_name="find_between"
        ),
        p["direction_files"].upload(
            actions.open_directions, p["direction_files"], p["names"], api_name="open_directions"
        ),
        p["mix"].click(actions.mix, [p["second"], p["layers"]], wipe, api_name="mix"),
        p["restore"].click(
            actions.restore,
            [p["damaged"], p["happened"], p["amount"], p["hidden"], p["restore_steps"]],
            [p["restore_told"], wipe, p["pasted"]],
            api_name="restore",
            **QUIET,
        ),
        p["drag"].click(actions.drag, p["stage"], [p["drag_progress"], wipe], api_name="drag", **QUIET),
        p["undo"].click(actions.undo, None, wipe, api_name="undo", queue=False, **QUIET),
        p["redo"].click(actions.redo, None, wipe, api_name="redo", queue=False, **QUIET),
        p["sliders"].input(actions.let_go, p["sliders"], wipe, trigger_mode="always_last", queue=False, **own),
        page.load(actions.choose_model, p["model"], opened, **own),
        p["align"].input(actions.open_photo, photo, wipe, **own),
        p["label"].input(actions.open_photo, photo, wipe, **own),
        p["gallery"].select(actions.choose_photo, None, wipe, **own),
        p["examples"]
        .select(actions.choose_example, None, p["photo"], **own)
        .success(actions.open_photo, photo, wipe, **own),
    ]
    placed = [p["stage"], p["crop"], p["sliders"]]
    for place, change in enumerate(changes):
        named = own if place else {"api_name": "show", **QUIET}
        shown = change.success(actions.show, None, actions.told(), **named)
        shown.then(actions.place, None, placed, queue=False, **own)
    p["stop"].click(actions.stop, api_name="stop", queue=False, **QUIET)
    for part in (p["stop_drag"], p["halt"], *(p[f"{name}_halt"] for name in ("restore", *ENDS))):
        part.click(actions.stop, queue=False, **own)
    page.unload(actions.leave)

    way = [p["second"], p["between_steps"], p["between_kind"]]
    p["interpolate"].click(actions.interpolate, way, p["animation"], api_name="interpolate")
    p["export"].click(actions.export, p["kind"], p["files"], api_name="export")
    for name, given in ENDS.items():
        shown = [p[f"{name}_told"], p[f"{name}_shown"]]
        p[name].click(getattr(actions, name), [p[one] for one in given], shown, api_name=name, **QUIET)
    p["run_queue"].click(
        actions.invert_all, [p["queue"], p["method"], p["steps"], p["align"]], [p["queue_told"], p["gallery"]],
        api_name="invert_all", **QUIET,
    )  # fmt: skip
