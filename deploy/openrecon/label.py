"""The label of an OpenRecon image for the runs in a folder, checked by the rules of OpenRecon's schema 1.1.0.

Usage: python3 deploy/openrecon/label.py RUNS [--encode | --name | --tag]

Prints the JSON; in base64, as the image carries it; the name of the package; or the tag of the image. Needs Python alone.
"""

import argparse
import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("label.json")
GENERAL = {"name", "version", "vendor", "information", "id", "regulatory_information"}
REGULATORY = {
    *("device_trade_name", "production_identifier", "manufacturer_address", "made_in", "manufacture_date"),
    *("material_number", "gtin", "udi", "safety_advices", "special_operating_instructions"),
    "additional_relevant_information",
}
NEEDED = {
    *("transfer_protocol", "port", "emitter", "injector", "can_use_gpu", "min_required_memory"),
    "min_count_required_cpu_cores",
}
OPTIONAL = {
    *("can_process_adjustment_data", "min_count_required_gpus", "min_required_gpu_memory"),
    *("content_qualification_type", "require_readout_filter_off", "channel_compression"),
}
CHOICE = {"type", "id", "label", "default", "values", "information"}
MOST = 14  # parameters


def problems(label: dict[str, Any]) -> list[str]:
    """What OpenRecon would refuse: sections, keys, types and values; and what its practice asks of choices."""
    found = []

    def check(good: bool, text: str) -> None:
        if not good:
            found.append(text)

    check(set(label) == {"general", "reconstruction", "parameters"}, "expected general, reconstruction and parameters")
    general, reconstruction = label.get("general", {}), label.get("reconstruction", {})
    check(set(general) == GENERAL, f"general: expected {sorted(GENERAL)}")
    told = general.get("regulatory_information", {})
    check(set(told) == REGULATORY, f"regulatory_information: expected {sorted(REGULATORY)}")
    check(all(isinstance(value, str) for value in told.values()), "regulatory_information: expected text")
    check(bool(re.fullmatch(r"\d+\.\d+\.\d+", str(general.get("version")))), "version: expected three numbers")
    check(set(reconstruction) >= NEEDED, f"reconstruction: expected {sorted(NEEDED)}")
    check(set(reconstruction) <= NEEDED | OPTIONAL, "reconstruction: keys that do not exist")
    protocol = {"protocol": "ISMRMRD", "version": "1.4.1"}
    check(reconstruction.get("transfer_protocol") == protocol, f"transfer_protocol: expected {protocol}")
    check(reconstruction.get("emitter") in ("raw", "image"), "emitter: expected raw or image")
    check(reconstruction.get("injector") in ("compleximage", "image"), "injector: expected compleximage or image")
    check(reconstruction.get("content_qualification_type", "RESEARCH") == "RESEARCH", "this is for research")
    for name, least in (("port", 1), ("min_required_memory", 0), ("min_count_required_cpu_cores", 1)):
        value = reconstruction.get(name)
        check(type(value) is int and value >= least, f"{name}: expected a whole number from {least}")
    parameters = label.get("parameters", [])
    check(len(parameters) <= MOST, f"parameters: expected at most {MOST}")
    names = [own.get("id", "") for own in parameters]
    check(len(set(names)) == len(names), "parameters: two of one id")
    check(names.count("config") == 1, "parameters: expected one 'config'")
    for own in parameters:
        check(bool(re.fullmatch("[A-Za-z0-9]+", own.get("id", ""))), "parameters: an id has letters and digits alone")
        check(own.get("type") == "choice" and set(own) <= CHOICE, "parameters: expected choices, and none of other keys")
        values = [value["id"] for value in own.get("values", [])]
        check(own.get("default") in values and len(set(values)) == len(values), "parameters: a default is one value")
        check("en" in own.get("label", {}), "parameters: expected a label in English")
    return found


def label_for(runs: Path) -> dict[str, Any]:
    """The label whose parameter ``config`` lists the runs; the first of them is the default."""
    label: dict[str, Any] = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    found = sorted(path.parent.name for path in runs.glob("*/model.safetensors"))
    if not found:
        sys.exit(f"error: {runs}: holds no run; expected folders with model.safetensors")
    config = next(own for own in label["parameters"] if own["id"] == "config")
    config["values"] = [{"id": name, "name": {"en": name}} for name in found] + config["values"]
    config["default"] = found[0]
    return label


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", type=Path)
    for option in ("--encode", "--name", "--tag"):
        parser.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    label = label_for(arguments.runs)
    if wrong := problems(label):
        sys.exit(f"error: {TEMPLATE}: {wrong[0]}")
    vendor, name, version = (label["general"][key] for key in ("vendor", "name", "version"))
    if arguments.name:
        print(f"OpenRecon_{vendor}_{name['en']}_V{version}")
    elif arguments.tag:
        print(f"openrecon_{vendor}_{name['en']}:v{version}".lower())
    elif arguments.encode:
        print(base64.b64encode(json.dumps(label).encode()).decode())
    else:
        print(json.dumps(label, indent=2))


if __name__ == "__main__":
    main()
