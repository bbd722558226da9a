"""Chat: a checkpoint's own template, conversations, and answers from an engine.

To render a conversation, byte for byte as transformers' ``apply_chat_template`` does::

    from deltaport.chat import ChatTemplate

    with ChatTemplate.load("qwen.engine") as template:  # or a checkpoint's folder
        messages = [{"role": "user", "content": "Hello"}]
        text = template.render(messages, add_generation_prompt=True, enable_thinking=False)

To talk with an engine, which reads only what is new in each turn::

    from deltaport.chat import ChatSession, ChatTemplate
    from deltaport.runtime import Engine

    engine = Engine.open("qwen.engine")
    chat = ChatSession(engine, ChatTemplate.load(engine.folder), enable_thinking=False)
    for question in ("What is a gated delta rule?", "And in one sentence?"):
        for part in chat.ask(question):
            print(part.text, end="", flush=True)  # part.kind: "reasoning" or "answer"
    chat.conversation.save("talk.json")

The template is a program by whoever made the checkpoint: it runs in a process of its own, with
bounded time, memory and output (:mod:`deltaport.chat.template_worker`). Importing this package
imports neither the runtime nor jinja2.
"""

from .answer import Answer, AnswerPart
from .chat_session import ChatSession
from .conversation import Conversation
from .reasoning import split_reasoning
from .template import ChatTemplate, Message

__all__ = [
    "Answer",
    "AnswerPart",
    "ChatSession",
    "ChatTemplate",
    "Conversation",
    "Message",
    "split_reasoning",
]
