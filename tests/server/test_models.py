"""Jobs of kind `models`: which the sidecar takes."""

from __future__ import annotations

import pytest
from conftest import Running
from ex4d_server import models
from ex4d_server.documents import ModelsJob, ModelStatus
from ex4d_server.problems import RequestError
from raw_http import ask, new_id

from ex4d_core import model_hub
from ex4d_core.models import CATALOGUE

KNOWN = [
    ModelStatus(name=f"lab/{name}", title=name.title(), size_bytes=1, left_bytes=1, licence=licence,
                commercial=commercial, where="https://hub.invalid", folder="/models", state="absent")
    for name, licence, commercial in (("free", "Apache-2.0", True), ("research", "CC-BY-NC-4.0", False))
]  # fmt: skip


def test_a_model_that_nobody_knows_is_refused_with_a_sentence(sidecar: Running) -> None:
    job, request = new_id("model"), {"kind": "models", "model": "lab/free", "accept_licence": True}
    for answer in (
        ask(sidecar.server, "PUT", f"/v1/jobs/{job}", request),
        ask(sidecar.server, "POST", "/v1/preflight", request),
    ):
        problem = answer.problem(422, "no-model")
        assert "'lab/free'" in problem["detail"]
        assert problem["remedy"]
    ask(sidecar.server, "GET", f"/v1/jobs/{job}").problem(404, "no-job")
    known = ask(sidecar.server, "GET", "/v1/capabilities").json()["models"]
    assert [document["name"] for document in known] == [model.name for model in CATALOGUE]


def test_a_licence_without_commercial_work_has_to_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "known_models", lambda: KNOWN)
    models.check_model(ModelsJob(kind="models", model="lab/free"))
    models.check_model(ModelsJob(kind="models", model="lab/research", accept_licence=True))
    with pytest.raises(RequestError, match=r"Research \(CC-BY-NC-4.0\) allows no commercial work") as refused:
        models.check_model(ModelsJob(kind="models", model="lab/research"))
    assert (refused.value.code, refused.value.status) == ("licence", 422)
    with pytest.raises(RequestError, match="knows no model 'lab/other'"):
        models.check_model(ModelsJob(kind="models", model="lab/other"))


def test_without_the_package_that_downloads_nothing_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_hub, "find_spec", lambda _: None)
    (shortage,) = models.model_shortages(ModelsJob(kind="models", model=CATALOGUE[0].name, accept_licence=True))
    assert (shortage.what, shortage.needed_bytes) == ("engine", None)
    assert "huggingface_hub, which is not installed" in shortage.message
