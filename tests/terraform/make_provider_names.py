"""Writes provider-aws-6.25.json: the argument names that provider 6.25 knows for the resources of the stacks.

The source is the Python package cdktf-cdktf-provider-aws 21.22.1, HashiCorp's bindings of provider 6.25.0.
It takes 230 MB, so the names that matter are kept beside the tests, and the package is no requirement of theirs:

    uv pip install --no-deps --target FOLDER cdktf-cdktf-provider-aws==21.22.1
    python -m tests.terraform.make_provider_names FOLDER
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.terraform import stacks

PROVIDER = "6.25.0"
# Arguments of every resource in the bindings that belong to CDK for Terraform, not to the provider.
META = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}
Structs = dict[str, dict[str, tuple[bool, str]]]


def structs_of(source: str) -> Structs:
    """By class: argument → (required, its type annotation)."""
    found: Structs = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    arguments = zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True)
                    found[node.name] = {
                        argument.arg.rstrip("_"): (
                            default is None,
                            ast.unparse(argument.annotation or ast.Constant("")),
                        )
                        for argument, default in arguments
                    }
    return found


def names_of(structs: Structs, name: str) -> dict[str, Any]:
    """Arguments of one struct; a nested block is a struct of its own."""
    names: dict[str, Any] = {}
    for argument, (required, annotation) in sorted(structs[name].items()):
        if argument in META:
            continue
        nested = [other for other in re.findall(r"\w+", annotation) if other in structs and other != name]
        names[argument] = {"required": True} if required else {}
        if nested:
            names[argument]["block"] = names_of(structs, nested[0])
    return names


def main(folder: Path) -> None:
    """Write the names of every resource and data source that a stack has."""
    package = folder / "cdktf_cdktf_provider_aws"
    readme = (package / "__init__.py").read_text("utf-8")[:2000]
    if f"provider version {PROVIDER}" not in readme:
        raise SystemExit(f"{package} was not made from provider {PROVIDER}")
    result: dict[str, Any] = {}
    for kind in sorted({f"{block.type} {block.labels[0]}" for block in stacks.resources()}):
        block_type, name = kind.split()
        short = name.removeprefix("aws_")
        module = short if block_type == "resource" else f"data_aws_{short}"
        structs = structs_of((package / module / "__init__.py").read_text("utf-8"))
        config = "".join(part.capitalize() for part in module.split("_")) + "Config"
        result[kind] = names_of(structs, config)
    target = Path(__file__).with_name("provider-aws-6.25.json")
    lines = ",\n".join(f"  {json.dumps(kind)}: {json.dumps(names, sort_keys=True)}" for kind, names in result.items())
    head = f'"made_by": "tests/terraform/make_provider_names.py",\n "provider": "{PROVIDER}"'
    target.write_text(f'{{{head},\n "names": {{\n{lines}\n }}}}\n', "utf-8")
    print(f"{len(result)} resources and data sources")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
