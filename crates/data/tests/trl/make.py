"""What TRL makes of rows: `python make.py TRL_FOLDER TOKENIZER_FOLDER > expected.json`.

Runs the functions of TRL's own sources (trl/data_utils.py and those inside SFTTrainer._prepare_dataset)
with transformers' tokenizers; neither PyTorch nor `datasets` is needed.
"""

import ast
import json
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

from transformers import AutoTokenizer

trl, folder = Path(sys.argv[1]), sys.argv[2]
for name in ["datasets", "datasets.packaged_modules", "trl"]:
    sys.modules.setdefault(name, MagicMock())


def module(path):
    source = path.read_text().replace("from .", "from trl.")
    found = types.ModuleType(path.stem)
    exec(compile(source, str(path), "exec"), found.__dict__)
    return found


data = module(trl / "data_utils.py")


def nested(path, names, scope):
    """Functions that TRL defines inside of methods."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            exec(compile(ast.Module([node], []), str(path), "exec"), scope)
    return scope


class Trainer:
    completion_only_loss = True


scope = {**vars(data), "json": json, "logger": MagicMock(), "self": Trainer}
sft = nested(trl / "trainer" / "sft_trainer.py", {"tokenize_fn", "build_labels", "add_eos"}, scope)
tokenizer = AutoTokenizer.from_pretrained(folder)
MARKED = json.load(open(Path(folder).parent / "chat_templates.json"))["templates"]["chatml_generation_mask"]


def encode(row, learn, template):
    row = data.maybe_convert_to_chatml(row)
    if not data.is_conversational(row):
        row = sft["add_eos"](row, tokenizer.eos_token, "text")
    row = sft["tokenize_fn"](row, tokenizer, "text", learn == "assistant", template)
    masks = [key for key in ["completion_mask", "assistant_masks"] if key in row]
    if learn == "all":
        masks = []
    return {"input_ids": row["input_ids"], **sft["build_labels"](row, masks)}


def user(text):
    return {"role": "user", "content": text}


def said(text):
    return {"role": "assistant", "content": text}


TALK = [user("What colour is the sky?"), said("It is blue."), user("And the sea? 猫"), said(" Green, \n or so. ")]
ROWS = [
    ({"text": "The sky is blue."}, None),
    ({"text": "  Two words, and its end.<|im_end|>"}, None),
    ({"prompt": "The sky is", "completion": " blue."}, None),
    ({"prompt": "", "completion": "blue."}, None),
    ({"prompt": "Frage: ü?\n", "completion": "Antwort – ja."}, None),
    ({"prompt": "The sky is", "completion": " blue."}, "all"),
    ({"messages": TALK}, None),
    ({"messages": TALK}, "assistant"),
    ({"messages": [{"role": "system", "content": "Be brief."}] + TALK[:2]}, "assistant"),
    ({"prompt": TALK[:1], "completion": TALK[1:2]}, None),
    ({"prompt": TALK[:3], "completion": TALK[3:]}, "completion"),
    ({"prompt": TALK[:1], "completion": TALK[1:]}, "assistant"),
    ({"prompt": TALK[:1], "completion": TALK[1:]}, "completion"),
    ({"prompt": TALK[:1], "completion": TALK[1:]}, "all"),
    ({"conversations": [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Ho"}]}, None),
]
PAIRS = [
    ("The sky is blue.", "The sky is green."),
    ("The sky is blue", "The sky is blueish"),
    ("ab", "ac"),
    ("a  b", "a  c"),
    ("a b", "a bc d"),
    ("über alles", "über allem"),
    (TALK[:2], TALK[:1] + [said("It is green.")]),
    (TALK, TALK[:2] + [user("Else?"), said("No.")]),
    (TALK[:2], TALK),
]
sft_cases = []
for row, learn in ROWS:
    for template in [None, MARKED]:
        if learn == "assistant" and template is None or not data.is_conversational(row) and template:
            continue
        expected = encode(json.loads(json.dumps(row)), learn, template)
        learned = [label != -100 for label in expected["labels"]]
        sft_cases.append({"row": row, "learn": learn, "template": template, "ids": expected["input_ids"], "learned": learned})
pairs = []
for chosen, rejected in PAIRS:
    row = {"chosen": chosen, "rejected": rejected}
    pairs.append({"row": row, "expected": data.extract_prompt(json.loads(json.dumps(row)))})
print(json.dumps({"tokenizer": Path(folder).name, "encode": sft_cases, "extract_prompt": pairs}, ensure_ascii=False, separators=(",", ":")))
