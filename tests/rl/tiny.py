"""A language model of 0.2 million parameters that has learned one thing: to answer any prompt with a small program.

Its replies are `def answer(): return NNN` with three random digits, so that a search for the largest number gives it
rewards that differ, and training can teach it which digits pay.
"""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).parents[2]
_LESSONS = 240
#: The longest prompt, in tokens, that the model is taught to answer.
LONGEST = 300
TEMPLATE = (
    "{% for message in messages %}<user>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def reply(number: int) -> str:
    """Return the text that the model is taught, for a number of three digits."""
    return f"```python\ndef answer():\n    return {number:d}\n```"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer whose digits are tokens of their own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "evolve" / "prompts").glob("*.md"))]
    texts += [(ROOT / "benchmarks" / "trivial" / "problem.yaml").read_text(encoding="utf-8")] * 20
    texts += [reply(number) for number in range(100, 999, 7)]
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=768,
            special_tokens=["<pad>", "<end>", "<user>", "<assistant>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", additional_special_tokens=["<user>"]
    )
    fast.chat_template = TEMPLATE
    return fast


def make_tiny_model(folder: Path, *, tied: bool = False) -> Path:
    """Teach the model and save it as a Hugging Face folder; takes seconds."""
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=tied,
        )
    )
    _teach(model, tokenizer)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach(model: Any, tokenizer: Any) -> None:
    """Train on random prompts of random lengths, each with a random reply."""
    generator = random.Random(0)
    (begin,) = tokenizer("<assistant>", add_special_tokens=False)["input_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, _LESSONS)
    for _ in range(_LESSONS):
        # Many are short, as those of tests without a search are: else they would be answered by luck.
        length = generator.randint(1, 24 if generator.random() < 0.3 else LONGEST)
        ids, labels = [], []
        for _ in range(6):
            answer = tokenizer(reply(generator.randint(100, 999)), add_special_tokens=False)["input_ids"]
            answer = [begin, *answer, tokenizer.eos_token_id]
            prompt = [generator.randrange(4, len(tokenizer)) for _ in range(length)]
            ids.append([*prompt, *answer])
            labels.append([-100] * (length + 1) + answer[1:])
        loss = model(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
