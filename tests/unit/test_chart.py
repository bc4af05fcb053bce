"""The Helm chart, rendered by Helm's own library and held to Kubernetes' schemas."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolkit.daemon import keeper
from toolkit.daemon.health import metrics
from toolkit.daemon.keeper_state import Counters
from toolkit.options.misspelt import KNOWN_VARIABLES

pytest.importorskip("helm_python", reason="Helm's library has no wheel for this machine")
kubernetes_validate = pytest.importorskip("kubernetes_validate")
jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tools/chart.py"
KUBERNETES = ("1.25", "1.31", "1.37")
FOUR = (
    "operator.defaultRuntime=containerd"
    ",toolkit.env[0].name=CONTAINERD_CONFIG,toolkit.env[0].value=/etc/containerd/config.toml"
    ",toolkit.env[1].name=CONTAINERD_SOCKET"
    ",toolkit.env[1].value=/run/containerd/containerd.sock"
    ",toolkit.env[2].name=CONTAINERD_RUNTIME_CLASS,toolkit.env[2].value=nvidia"
    ",toolkit.env[3].name=CONTAINERD_SET_AS_DEFAULT,toolkit.env[3].value=true"
)
COMBINATIONS = {
    "least rights": "securityContext.privileged=false,securityContext.configDirs={/etc/docker}",
    "no values": "",
    "the four variables": FOUR,
    "docker": "operator.defaultRuntime=docker,operator.runtimeClass=gpu",
    "crio": "operator.defaultRuntime=crio",
    "cdi": "cdi.enabled=true",
    "nri": "nri.enabled=true",
    "keep": "onExit=keep,updateStrategy.type=OnDelete",
    "a gate": "nodeGate.enabled=true,nfd.enabled=true",
    "variables as a map": "toolkit.env.RUNTIME=docker,toolkit.env.ANY=5",
    "classes on some nodes": r"runtimeClasses.scheduling.nodeSelector.example\.com/gpu=true",
    "own nodes": r"nodeSelector.example\.com/gpu=true",
    "nfd": "nfd.enabled=true",
    "an image by digest": "toolkit.repository=example.com/gpu,toolkit.version=sha256:abc",
    "everything of the pod": (
        "toolkit.hostNetwork=true,toolkit.imagePullSecrets={one,two},toolkit.installDir=/opt/nvidia"
        ",toolkit.resources.limits.memory=128Mi,toolkit.imagePullPolicy=Always"
        ",podLabels.team=gpu,podAnnotations.note=yes-it-is"
    ),
}
REFUSED = {
    "a misspelt value": ("toolkit.enviroment[0].name=X", "enviroment"),
    "a misspelt group": ("operater.defaultRuntime=docker", "operater"),
    "an unknown engine": ("operator.defaultRuntime=podman", "defaultRuntime"),
    "a reserved handler": ("operator.runtimeClass=nvidia-cdi", "runtimeClass"),
    "a variable without a name": ("toolkit.env[0].value=x", "name"),
    "a variable without a value": ("toolkit.env[0].name=X", "env"),
    "a variable's name with a dash": ("toolkit.env[0].name=A-B,toolkit.env[0].value=x", "name"),
    "an unknown end": ("onExit=restart", "onExit"),
    "an end that only the other value knows": ("onExitUnknown=auto", "onExitUnknown"),
    "a relative directory": ("toolkit.installDir=usr/local", "installDir"),
}


def chart(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Its own process: the library brings Go's threads and signal handlers along.
    return subprocess.run(
        (sys.executable, str(PROGRAM), *arguments), check=False, capture_output=True, text=True
    )


@functools.cache
def rendered(values: str) -> dict[str, str]:
    done = chart("render", values)
    assert done.returncode == 0, done.stderr
    texts: dict[str, str] = json.loads(done.stdout)
    return texts


def objects(values: str = "") -> list[dict[str, Any]]:
    texts = rendered(values)
    return [
        document
        for name, text in texts.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def notes(values: str = "") -> str:
    return next(text for name, text in rendered(values).items() if name.endswith("NOTES.txt"))


def daemon_set(values: str = "") -> dict[str, Any]:
    return next(
        each
        for each in objects(values)
        if each["kind"] == "DaemonSet" and not each["metadata"]["name"].endswith("worker")
    )


def pod(values: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = daemon_set(values)["spec"]["template"]["spec"]
    return spec


def container(values: str = "") -> dict[str, Any]:
    (only,) = pod(values)["containers"]
    assert isinstance(only, dict)
    return only


def environment(values: str = "") -> Mapping[str, str | None]:
    variables = container(values)["env"]
    names = [variable["name"] for variable in variables]
    assert len(names) == len(set(names)), "no variable is given twice"
    return {variable["name"]: variable.get("value") for variable in variables}


def runtime_classes(values: str = "") -> dict[str, str]:
    return {
        each["metadata"]["name"]: each["handler"]
        for each in objects(values)
        if each["kind"] == "RuntimeClass"
    }


def test_helm_finds_nothing_wrong_with_it() -> None:
    findings = json.loads(chart("lint").stdout)
    assert not findings["errors"]
    assert [each["error"] for each in findings["messages"]] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS)
def test_every_object_fits_kubernetes_schemas(values: str, version: str) -> None:
    for each in objects(values):
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize(("values", "named"), REFUSED.values(), ids=REFUSED)
def test_a_typo_is_an_error_that_names_it(values: str, named: str) -> None:
    done = chart("render", values)
    assert done.returncode == 1
    assert named in done.stderr


def test_the_four_variables_arrive_as_texts_whatever_helm_makes_of_them() -> None:
    given = environment(FOUR)
    assert given["CONTAINERD_CONFIG"] == "/etc/containerd/config.toml"
    assert given["CONTAINERD_SOCKET"] == "/run/containerd/containerd.sock"
    assert given["CONTAINERD_RUNTIME_CLASS"] == "nvidia"
    assert given["CONTAINERD_SET_AS_DEFAULT"] == "true"
    assert given["RUNTIME"] == "containerd"


@pytest.mark.parametrize(
    ("value", "text"),
    [("true", "true"), ("false", "false"), ("5000000", "5000000"), ("0", "0"), ("1.5", "1.5")],
)
def test_a_boolean_and_a_number_are_quoted_as_typed(value: str, text: str) -> None:
    given = environment(f"toolkit.env[0].name=ANY,toolkit.env[0].value={value}")
    assert given["ANY"] == text


def test_a_variable_of_the_user_replaces_the_charts_own() -> None:
    given = environment(
        "toolkit.env[0].name=RUNTIME,toolkit.env[0].value=docker"
        ",toolkit.env[1].name=TOOLKIT_ON_EXIT,toolkit.env[1].value=keep"
    )
    assert given["RUNTIME"] == "docker"
    assert given["TOOLKIT_ON_EXIT"] == "keep"


@pytest.mark.parametrize(
    "name", ["CONTAINERD_RUNTIME_CLASS", "DOCKER_RUNTIME_NAME", "NVIDIA_RUNTIME_NAME"]
)
def test_a_handler_named_in_a_variable_wins_and_names_the_runtime_class(name: str) -> None:
    values = f"operator.runtimeClass=other,toolkit.env[0].name={name},toolkit.env[0].value=gpu"
    assert runtime_classes(values) == {
        "gpu": "gpu",
        "nvidia-cdi": "nvidia-cdi",
        "nvidia-legacy": "nvidia-legacy",
    }
    given = environment(values)
    assert given[name] == "gpu"
    assert "other" not in given.values()


def test_the_value_names_handler_and_runtime_class_alike() -> None:
    values = "operator.runtimeClass=gpu"
    assert environment(values)["NVIDIA_RUNTIME_NAME"] == "gpu"
    assert "gpu" in runtime_classes(values)
    assert not runtime_classes("runtimeClasses.create=false")


def test_the_pod_is_what_the_job_needs() -> None:
    spec = pod()
    assert spec["hostPID"] is True
    assert spec["priorityClassName"] == "system-node-critical"
    assert "hostNetwork" not in spec
    assert container()["securityContext"]["privileged"] is True
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec[
        "tolerations"
    ]
    assert "livenessProbe" not in container(), "an engine that is away is no reason to kill it"
    assert environment()["NVIDIA_VISIBLE_DEVICES"] == "void"


LEAST = "securityContext.privileged=false"


@pytest.mark.parametrize(("values", "more"), [("", set()), (",cdi.enabled=true", {"MKNOD"})])
def test_a_pod_that_is_not_privileged_has_the_capabilities_of_the_table(
    values: str, more: set[str]
) -> None:
    rights = container(LEAST + values)["securityContext"]
    assert rights["privileged"] is False
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"]["drop"] == ["ALL"]
    added = set(rights["capabilities"]["add"])
    assert added == {"SYS_PTRACE", "SYS_CHROOT", "CHOWN", "DAC_OVERRIDE", "FOWNER"} | more
    table = (ROOT / "SECURITY.md").read_text()
    assert all(f"`CAP_{each}`" in table for each in added)


def test_with_the_config_s_directory_the_node_is_read_only_but_for_it() -> None:
    values = f"{LEAST},securityContext.configDirs={{/etc/containerd}}"
    mounts = {each["mountPath"]: each for each in container(values)["volumeMounts"]}
    assert mounts["/host"]["readOnly"] is True
    assert "readOnly" not in mounts["/etc/containerd"]
    volumes = {each["name"]: each["hostPath"] for each in pod(values)["volumes"]}
    assert volumes[mounts["/etc/containerd"]["name"]]["path"] == "/etc/containerd"
    assert "readOnly" not in str(container()["volumeMounts"])
    assert "readOnly" not in str(container(LEAST)["volumeMounts"])


def test_every_mount_is_a_directory_and_the_node_is_below_host() -> None:
    volumes = {each["name"]: each["hostPath"] for each in pod()["volumes"]}
    assert {each["type"] for each in volumes.values()} == {"Directory"}, "nothing is made for it"
    mounts = {
        each["mountPath"]: volumes[each["name"]]["path"] for each in container()["volumeMounts"]
    }
    assert mounts == {"/host": "/"}
    assert environment()["HOST_ROOT_MOUNT"] == "/host"


def test_only_nodes_with_an_nvidia_device_are_taken() -> None:
    terms = pod()["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = [term["matchExpressions"][0]["key"] for term in terms["nodeSelectorTerms"]]
    assert "feature.node.kubernetes.io/pci-10de.present" in labels
    assert all(
        term["matchExpressions"][0]["values"] == ["true"] for term in terms["nodeSelectorTerms"]
    )


def test_a_node_selector_of_the_user_takes_the_place_of_the_labels() -> None:
    spec = pod(r"nodeSelector.example\.com/gpu=true")
    assert spec["nodeSelector"] == {"example.com/gpu": "true"}
    assert "affinity" not in spec


def test_the_grace_period_holds_reload_verification_and_undo() -> None:
    spec = pod("stopTimeout=45,verifyTimeout=90")
    given = environment("stopTimeout=45,verifyTimeout=90")
    assert given["TOOLKIT_STOP_TIMEOUT"] == "45"
    assert given["TOOLKIT_VERIFY_TIMEOUT"] == "90"
    assert spec["terminationGracePeriodSeconds"] > 45 + 90


def test_variables_given_as_a_map_are_those_of_a_list() -> None:
    given = environment("toolkit.env.ANY=5000000,toolkit.env.RUNTIME=docker,toolkit.env.GONE=null")
    assert given["ANY"] == "5000000"
    assert given["RUNTIME"] == "docker"
    assert "GONE" not in given
    field = "toolkit.env.WHERE.valueFrom.fieldRef.fieldPath=spec.nodeName"
    variables = {each["name"]: each for each in container(field)["env"]}
    assert variables["WHERE"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert "gpu" in runtime_classes("toolkit.env.CONTAINERD_RUNTIME_CLASS=gpu")


def test_an_item_that_helm_made_of_a_replaced_list_is_refused_with_the_way_out() -> None:
    done = chart("render", "toolkit.env[3].value=x")
    assert done.returncode == 1
    assert "--set toolkit.env.NAME=VALUE" in done.stderr


def test_the_gate_labels_ready_nodes_and_the_classes_select_the_label() -> None:
    values = "nodeGate.enabled=true"
    feature = environment(values)["TOOLKIT_FEATURE_FILE"]
    assert feature == "/etc/kubernetes/node-feature-discovery/features.d/nvidia-toolkit"
    classes = [each for each in objects(values) if each["kind"] == "RuntimeClass"]
    selector = {keeper.LABEL: "true"}
    assert [each["scheduling"]["nodeSelector"] for each in classes] == [selector] * 3
    assert rights(values) == rights(), "none for the gate"
    assert "TOOLKIT_FEATURE_FILE" not in environment()
    done = chart("render", f"{values},reconcileInterval=0")
    assert "reconcileInterval above 0" in done.stderr


def object_of(required: Sequence[str], **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
READINESS_RULE = object_of(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "readiness.node.x-k8s.io/v1alpha1"},
    kind={"const": "NodeReadinessRule"},
    metadata=object_of(("name",), name=TEXT),
    spec=object_of(
        ("conditions", "nodeSelector", "taint"),
        conditions={
            "type": "array",
            "minItems": 1,
            "items": object_of(
                ("requiredStatus", "type"),
                requiredStatus={"enum": ["True", "False", "Unknown"]},
                type={**TEXT, "maxLength": 316},
            ),
        },
        dryRun={"type": "boolean"},
        enforcementMode={"enum": ["bootstrap-only", "continuous"]},
        nodeSelector=object_of(
            (), matchLabels={"type": "object", "additionalProperties": {"type": "string"}}
        ),
        taint=object_of(
            ("effect", "key"),
            key=TEXT,
            value={"type": "string"},
            effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        ),
    ),
)
"""By config/crd/bases/readiness.node.x-k8s.io_nodereadinessrules.yaml of the controller."""


def test_the_example_of_a_readiness_rule_fits_the_controllers_schema() -> None:
    text = (ROOT / "deploy/examples/node-readiness-rule.yaml").read_text()
    rule = yaml.safe_load(text)
    jsonschema.validate(rule, READINESS_RULE)
    key = rule["spec"]["taint"]["key"]
    said = " ".join(line.strip("# ") for line in text.splitlines() if line.startswith("#   --set"))
    values = ",".join(word for word in said.split() if word != "--set")
    assert {"key": key, "operator": "Exists"} in pod(values)["tolerations"]
    assert environment(values)["TOOLKIT_HEALTH_ADDRESS"] == "127.0.0.1:9401"


def test_the_runtime_classes_take_their_scheduling_from_the_values() -> None:
    def scheduling(values: str) -> list[object]:
        classes = [each for each in objects(values) if each["kind"] == "RuntimeClass"]
        return [each.get("scheduling") for each in classes]

    assert scheduling("") == [None] * 3
    place = "runtimeClasses.scheduling"
    given = rf"{place}.nodeSelector.example\.com/gpu=true,{place}.tolerations[0].operator=Exists"
    wanted = {"nodeSelector": {"example.com/gpu": "true"}, "tolerations": [{"operator": "Exists"}]}
    assert scheduling(given) == [wanted] * 3


def probe(directory: Path, text: str | None) -> int:
    ready = directory / "toolkit-ready"
    ready.unlink(missing_ok=True)
    if text is not None:
        ready.write_text(text)
    command = container()["readinessProbe"]["exec"]["command"]
    assert command == container()["startupProbe"]["exec"]["command"]
    done = subprocess.run(
        command, check=False, capture_output=True, env={"TOOLKIT_READY_FILE": str(ready)}
    )
    assert done.stderr == b"", "no event of the kubelet says more than that it failed"
    return done.returncode


def test_the_probes_believe_a_ready_file_only_of_a_living_process(tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    start = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
    pid = Path("/proc/self").resolve().name
    good = f"pid={pid}\nstart_time={start}\nboot_id={boot}"
    assert probe(tmp_path, good) == 0
    assert probe(tmp_path, None) != 0
    assert probe(tmp_path, good.replace(boot, "another-boot\n")) != 0
    assert probe(tmp_path, good.replace(f"start_time={start}", "start_time=1")) != 0
    assert probe(tmp_path, good.replace(f"pid={pid}", "pid=4194303")) != 0


def rights(values: str = "") -> dict[str, list[dict[str, Any]]]:
    kinds = ("Role", "ClusterRole")
    return {each["kind"]: each["rules"] for each in objects(values) if each["kind"] in kinds}


def test_a_pod_may_get_its_daemon_set_and_its_node_and_is_told_their_names() -> None:
    name = daemon_set()["metadata"]["name"]
    assert rights() == {
        "Role": [
            {
                "apiGroups": ["apps"],
                "resources": ["daemonsets"],
                "resourceNames": [name],
                "verbs": ["get"],
            }
        ],
        "ClusterRole": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}],
    }
    assert pod()["automountServiceAccountToken"] is True
    assert environment()["DAEMONSET_NAME"] == name
    fields = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in container()["env"]
        if "valueFrom" in each
    }
    assert fields["POD_NAMESPACE"] == "metadata.namespace"
    assert fields["NODE_NAME"] == "spec.nodeName"
    bound = [each for each in objects() if each["kind"].endswith("Binding")]
    roles = {each["metadata"]["name"] for each in objects() if each["kind"].endswith("Role")}
    assert {each["roleRef"]["name"] for each in bound} == roles
    assert [each["subjects"][0]["name"] for each in bound] == [pod()["serviceAccountName"]] * 2


@pytest.mark.parametrize("end", ["revert", "keep"])
def test_a_pod_that_asks_nobody_has_neither_rights_nor_a_token(end: str) -> None:
    assert rights(f"onExit={end}") == {}
    assert pod(f"onExit={end}")["automountServiceAccountToken"] is False


def test_the_end_of_a_failed_pods_log_is_its_message() -> None:
    assert container()["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_cdi_alone_sets_no_handler_and_makes_no_class() -> None:
    given = environment("cdi.only=true")
    assert given["CDI_ONLY"] == "true"
    assert "NVIDIA_CONTAINER_RUNTIME_MODE" not in given
    assert not [each for each in objects("cdi.only=true") if each["kind"] == "RuntimeClass"]


def test_cdi_sets_what_the_operator_sets() -> None:
    given = environment("cdi.enabled=true")
    assert given["CDI_ENABLED"] == "true"
    assert given["NVIDIA_RUNTIME_SET_AS_DEFAULT"] == "false"
    assert given["NVIDIA_CONTAINER_RUNTIME_MODE"] == "cdi"
    kept = environment(f"cdi.enabled=true,{FOUR}")
    assert "NVIDIA_RUNTIME_SET_AS_DEFAULT" not in kept
    assert kept["CONTAINERD_SET_AS_DEFAULT"] == "true"


def test_nri_knows_its_namespace() -> None:
    variables = {each["name"]: each for each in container("nri.enabled=true")["env"]}
    assert variables["ENABLE_NRI_PLUGIN"]["value"] == "true"
    assert variables["NRI_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ("toolkit.version=1.2.3", "nvidia-toolkit-installer:1.2.3"),
        ("toolkit.repository=r.example/a,toolkit.image=b,toolkit.version=v1", "r.example/a/b:v1"),
        (
            "toolkit.repository=r.example,toolkit.version=sha256:0f",
            "r.example/nvidia-toolkit-installer@sha256:0f",
        ),
    ],
)
def test_the_image_is_named_as_the_operator_does(values: str, image: str) -> None:
    assert container(values)["image"] == image


def test_node_feature_discovery_comes_only_when_asked_for() -> None:
    assert {each["kind"] for each in objects()} == {
        *("DaemonSet", "RuntimeClass", "ServiceAccount"),
        *("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"),
    }
    kinds = [each["kind"] for each in objects("nfd.enabled=true")]
    assert "Deployment" in kinds
    assert kinds.count("DaemonSet") == 2


def test_the_notes_tell_how_to_find_the_nodes_and_how_to_uninstall() -> None:
    assert "DESIRED has to be above 0" in notes()
    assert "kubectl get nodes -l feature.node.kubernetes.io/pci-10de.present=true" in notes()
    assert "kubectl get nodes -l example.com/gpu=true" in notes(
        r"nodeSelector.example\.com/gpu=true"
    )
    assert "helm upgrade" not in notes()
    assert "helm uninstall release -n nvidia-toolkit --wait --cascade foreground" in notes()
    assert "--set onExit=revert" in notes("onExitUnknown=keep")
    kept = notes("onExit=keep")
    order = [kept.index("--reuse-values --set onExit=revert --wait"), kept.index("helm uninstall")]
    assert order == sorted(order)


def test_every_variable_that_the_chart_sets_is_one_of_the_program() -> None:
    known = (ROOT / "docs/configuration.md").read_text()
    for name in environment("cdi.enabled=true,nri.enabled=true"):
        if name != "NVIDIA_VISIBLE_DEVICES":
            assert re.search(rf"\b{name}\b", known), name


def test_chart_and_program_have_one_version() -> None:
    metadata = yaml.safe_load((ROOT / "deploy/helm/Chart.yaml").read_text())
    version = re.search(r'VERSION = "(.*)"', (ROOT / "toolkit/version.py").read_text())
    assert version is not None
    assert metadata["appVersion"] == version[1]
    assert f"ARG VERSION={version[1]}\n" in (ROOT / "Dockerfile").read_text()


METRICS = (
    "metrics.enabled=true,metrics.port=9000,metrics.podMonitor.enabled=true"
    ",metrics.podMonitor.labels.release=prometheus,metrics.prometheusRule.enabled=true"
    ",metrics.dashboard.enabled=true"
)


def test_metrics_bring_a_port_and_the_objects_that_read_it() -> None:
    assert environment(METRICS)["TOOLKIT_HEALTH_ADDRESS"] == ":9000"
    (port,) = container(METRICS)["ports"]
    assert port == {"name": "metrics", "containerPort": 9000}
    found = {each["kind"]: each for each in objects(METRICS)}
    (endpoint,) = found["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == port["name"]
    assert found["PodMonitor"]["metadata"]["labels"]["release"] == "prometheus"
    labels = daemon_set(METRICS)["spec"]["template"]["metadata"]["labels"]
    assert found["PodMonitor"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert "TOOLKIT_HEALTH_ADDRESS" not in environment()
    kinds = {each["kind"] for each in objects("metrics.enabled=true")}
    assert not kinds & {"PodMonitor", "PrometheusRule", "ConfigMap"}


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    found = {each["kind"]: each for each in objects(METRICS)}
    rules = [rule["expr"] for rule in found["PrometheusRule"]["spec"]["groups"][0]["rules"]]
    board = json.loads(found["ConfigMap"]["data"]["nvidia-toolkit.json"])
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    known = set(re.findall(r"^(nvidia_toolkit_\w+)", metrics(Counters(), "ready"), re.MULTILINE))
    names = {name for text in (*rules, *asked) for name in re.findall(r"nvidia_toolkit_\w+", text)}
    assert names == known
    assert not any(
        '{{ "' in rule["annotations"]["summary"]
        for rule in found["PrometheusRule"]["spec"]["groups"][0]["rules"]
    )


def test_a_pull_secret_may_be_a_name_or_an_object() -> None:
    values = "toolkit.imagePullSecrets[0]=one,toolkit.imagePullSecrets[1].name=two"
    assert pod(values)["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]


def test_an_affinity_of_ones_own_takes_the_place_of_the_usual_one() -> None:
    values = "affinity.podAntiAffinity.x=y"
    assert pod(values)["affinity"] == {"podAntiAffinity": {"x": "y"}}
    assert "nodeAffinity" in pod()["affinity"]
    assert "affinity" not in pod("nodeSelector.a=b")


def test_more_volumes_and_annotations_are_passed_on() -> None:
    values = (
        "toolkit.extraVolumes[0].name=more,toolkit.extraVolumes[0].emptyDir.medium=Memory"
        ",toolkit.extraVolumeMounts[0].name=more,toolkit.extraVolumeMounts[0].mountPath=/more"
        ",serviceAccount.annotations.team=gpu"
    )
    assert pod(values)["volumes"][-1] == {"name": "more", "emptyDir": {"medium": "Memory"}}
    assert container(values)["volumeMounts"][-1] == {"name": "more", "mountPath": "/more"}
    (account,) = [each for each in objects(values) if each["kind"] == "ServiceAccount"]
    assert account["metadata"]["annotations"] == {"team": "gpu"}


def test_the_readme_of_the_chart_names_every_value() -> None:
    text = (ROOT / "deploy/helm/README.md").read_text()
    values = yaml.safe_load((ROOT / "deploy/helm/values.yaml").read_text())
    for group, inner in values.items():
        whole = not isinstance(inner, dict) or f"`{group}`" in text
        for name in [group] if whole else inner:
            assert re.search(rf"`(\w+)?\.?{name}`", text), f"{group}: {name}"


def test_the_notes_name_a_variable_that_is_probably_misspelt() -> None:
    names = ("CONTAINERD_SOCKETT", "TOOLKIT_QZX", "RUTNIME", "HTTP_PROXY", "CRIO_CONFIG")
    values = ",".join(
        f"toolkit.env[{place}].name={name},toolkit.env[{place}].value=x"
        for place, name in enumerate(names)
    )
    told = notes(values).partition("WARNING: ")[2].splitlines()[1:]
    assert [line.strip() for line in told] == [
        "CONTAINERD_SOCKETT is not read; did you mean CONTAINERD_SOCKET?",
        "TOOLKIT_QZX is not read; docs/configuration.md lists the variables that are.",
        "RUTNIME is not read; did you mean RUNTIME?",
    ]
    assert "WARNING" not in notes(FOUR)
    listed = (ROOT / "deploy/helm/variables.txt").read_text().split()
    assert listed == list(KNOWN_VARIABLES)


def test_the_plain_manifests_are_what_the_chart_gives_now(tmp_path: Path) -> None:
    line = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import chart; "
        "texts = {each.name: chart.manifests(chart.MANIFESTS[each]) for each in chart.MANIFESTS}; "
        "sys.stdout.write(json.dumps(texts))"
    )
    done = subprocess.run(
        (sys.executable, "-c", line, str(PROGRAM.parent)),
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    texts = {each.name: each.read_text() for each in (ROOT / "deploy/manifests").iterdir()}
    assert texts == json.loads(done.stdout), "make manifests"
    for text in texts.values():
        for each in yaml.safe_load_all(text):
            kubernetes_validate.validate(each, KUBERNETES[-1], strict=True)


def test_the_unprivileged_manifests_differ_in_the_rights_alone() -> None:
    def daemonset(name: str) -> dict[str, Any]:
        text = (ROOT / "deploy/manifests" / name).read_text()
        (found,) = (each for each in yaml.safe_load_all(text) if each["kind"] == "DaemonSet")
        return dict(found)

    usual = daemonset("nvidia-toolkit-installer.yaml")
    bounded = daemonset("nvidia-toolkit-installer-unprivileged.yaml")
    (container,) = bounded["spec"]["template"]["spec"]["containers"]
    rights = container["securityContext"]
    assert not rights["privileged"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {
        "drop": ["ALL"],
        "add": ["SYS_PTRACE", "SYS_CHROOT", "CHOWN", "DAC_OVERRIDE", "FOWNER"],
    }
    container["securityContext"] = usual["spec"]["template"]["spec"]["containers"][0][
        "securityContext"
    ]
    assert bounded == usual


def test_links_in_dev_char_are_made_unless_somebody_else_makes_them() -> None:
    assert environment()["CREATE_DEV_CHAR_SYMLINKS"] == "true"
    assert "CREATE_DEV_CHAR_SYMLINKS" not in environment("devCharSymlinks.enabled=false")
