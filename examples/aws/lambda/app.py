"""Reads its secret where handfast says that it is."""

import os


def handler(event, context):
    with open(os.environ["DB_PASSWORD_FILE"], encoding="utf-8") as file:
        return {"characters": len(file.read())}
