"""A pool of PostgreSQL connections that takes new credentials at HUP.

Work that has begun goes on with its connection. A connection of the user before is closed when it would be lent next.
libpq's variables (PGHOST, PGPORT, PGDATABASE) say where the database is. Needs psycopg2 (Debian: python3-psycopg2).
"""

import json
import os
import queue
import signal
import threading
from contextlib import contextmanager

import psycopg2

SIZE = 4


class Pool:
    def __init__(self):
        self.read()
        self.connections = queue.Queue()
        for _ in range(SIZE):
            self.connections.put((None, None))

    def read(self, *_):
        """Reads the credentials; also as the handler of HUP."""
        with open(os.environ["DB_CREDENTIALS_FILE"]) as file:
            self.credentials = json.load(file)

    @contextmanager
    def connection(self):
        user, connection = self.connections.get()
        try:
            credentials = self.credentials
            if connection is None or connection.closed or user != credentials["username"]:
                if connection is not None:
                    connection.close()
                user, connection = credentials["username"], None
                connection = psycopg2.connect(user=user, password=credentials["password"])
            yield connection
        finally:
            self.connections.put((user, connection))


def work(pool):
    while True:
        try:
            with pool.connection() as connection, connection, connection.cursor() as cursor:
                cursor.execute("select current_user, pg_sleep(0.05)")
                print("query by", cursor.fetchone()[0], flush=True)
        except psycopg2.Error as error:
            print("query failed:", error, flush=True)


pool = Pool()
signal.signal(signal.SIGHUP, pool.read)
for _ in range(SIZE):
    threading.Thread(target=work, args=[pool], daemon=True).start()
while True:
    signal.pause()
