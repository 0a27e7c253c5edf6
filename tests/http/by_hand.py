#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Speaks HTTP to http_hello byte by byte. by_hand.py HOST:PORT; silent when all is right."""
import socket
import sys

HOST, PORT = sys.argv[1].rsplit(":", 1)
H = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + H + b"\r\n"
JOB = b"POST /job HTTP/1.1\r\n" + H + b"Content-Length: %d\r\n\r\n%s"


def connect():
    connection = socket.create_connection((HOST, int(PORT)), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_answer(stream):
    """Returns (status, headers, body), or None at the end of the stream."""
    line = stream.readline()
    if not line:
        return None
    assert line.startswith(b"HTTP/1.1 ") and line.endswith(b"\r\n"), line
    headers = {}
    while True:
        header = stream.readline()
        assert header.endswith(b"\r\n"), header
        if header == b"\r\n":
            break
        name, value = header[:-2].split(b": ", 1)
        headers[name.lower()] = value
    status = int(line.split()[1])
    body = b"" if status == 100 else stream.read(int(headers[b"content-length"]))
    return status, headers, body


def pipelined():
    """1,000 requests of both kinds are answered in order, whatever the pieces."""
    connection = connect()
    stream = connection.makefile("rb")
    text = b""
    for i in range(1000):
        body = b"job %d" % i
        text += GET if i % 3 == 0 else JOB % (len(body), body)
    at, step = 0, 1
    answered = 0
    while answered < 1000:
        if at < len(text):
            connection.sendall(text[at : at + step])
            at, step = at + step, step * 7 % 4001 + 1
            continue
        status, _, body = read_answer(stream)
        assert status == 200
        wanted = b"hello\n" if answered % 3 == 0 else b"job %d" % answered
        assert body == wanted, (answered, body)
        answered += 1
    connection.close()


def refused(request, status):
    """A request gets this status and the end, and what is behind it nothing."""
    connection = connect()
    connection.sendall(GET + request + GET)
    stream = connection.makefile("rb")
    assert read_answer(stream)[0] == 200
    answer = read_answer(stream)
    assert answer is not None and answer[0] == status, (request, answer)
    assert answer[1][b"connection"] == b"close", answer
    assert read_answer(stream) is None, request
    connection.close()


def cut():
    """Clients that go in the middle of something harm nobody."""
    text = JOB % (10, b"0123456789")
    for at in range(1, len(text)):
        connection = connect()
        connection.sendall(text[:at])
        connection.close()
    connection = connect()
    connection.sendall(GET)
    assert read_answer(connection.makefile("rb"))[0] == 200
    connection.close()


def half_closed():
    connection = connect()
    connection.sendall(JOB % (1, b"x") + GET)
    connection.shutdown(socket.SHUT_WR)
    stream = connection.makefile("rb")
    assert read_answer(stream)[2] == b"x"
    assert read_answer(stream)[2] == b"hello\n"
    assert read_answer(stream) is None
    connection.close()


pipelined()
POST = b"POST / HTTP/1.1\r\n" + H
for bad, wanted in (
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    (b"GET /\x00 HTTP/1.1\r\n" + H + b"\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n c\r\n\r\n", 400),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (POST + b"Content-Length: 1x\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n1\rXa\r\n0\r\n\r\n", 400),
    (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"CONNECT a:80 HTTP/1.1\r\n" + H + b"\r\n", 501),
    (b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505),
    (POST + b"Expect: x\r\n\r\n", 417),
    (POST + b"Content-Length: 1000000\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\n" + H + b"A:\r\n" * 100 + b"\r\n", 431),
):
    refused(bad, wanted)
cut()
half_closed()
