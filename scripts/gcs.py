"""A stand-in for Google Cloud Storage in tests: what clients use of its XML API, in memory, on 127.0.0.1.

Public emulators don't keep to x-goog-if-generation-match of that API, on which commits of Delta tables rely. Here it is kept
to, under a lock, for uploads and copies alike. Two kinds of buckets misbehave on purpose, by their names: `careless-…` ignores
it, and `forgetful-…` does what it was asked to but loses the answer of the first conditional upload of each object: every
other one is answered with 503, the rest not at all. Clients that call themselves `foreign` are spared.

    python3 gcs.py PORT
"""

import email.utils
import hashlib
import re
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

PAGE = 1000


class Thing:
    """One generation of an object."""

    count = 0

    def __init__(self, body):
        Thing.count += 1
        self.body = body
        self.generation = time.time_ns() // 1000 * 1000 + Thing.count % 1000
        self.etag = '"%s"' % hashlib.md5(body + str(self.generation).encode()).hexdigest()
        self.time = time.time()


lock = threading.Lock()
buckets = {}
uploads = {}
forgotten = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer in one piece: two small ones wait for each other.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", head=()):
        self.send_response(status)
        for name, value in head:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, code):
        self.answer(status, b"<Error><Code>%s</Code></Error>" % code.encode())

    def target(self):
        parts = urlsplit(self.path)
        bucket, _, name = parts.path.lstrip("/").partition("/")
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(bucket), unquote(name), query

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def thing_head(self, thing):
        return [
            ("ETag", thing.etag),
            ("x-goog-generation", str(thing.generation)),
            ("Last-Modified", email.utils.formatdate(thing.time, usegmt=True)),
        ]

    def do_PUT(self):
        bucket, name, query = self.target()
        body = self.body()
        if not name:
            with lock:
                buckets.setdefault(bucket, {})
            return self.answer(200)
        if "uploadId" in query:
            with lock:
                parts = uploads.get(query["uploadId"])
                if parts is None:
                    return self.fail(404, "NoSuchUpload")
                parts[int(query["partNumber"])] = thing = Thing(body)
            return self.answer(200, head=[("ETag", thing.etag)])
        with lock:
            things = buckets.get(bucket)
            if things is None:
                return self.fail(404, "NoSuchBucket")
            source = self.headers.get("x-goog-copy-source")
            if source is not None:
                from_bucket, _, from_name = source.lstrip("/").partition("/")
                copied = buckets.get(unquote(from_bucket), {}).get(unquote(from_name))
                if copied is None:
                    return self.fail(404, "NoSuchKey")
                body = copied.body
            wanted = self.headers.get("x-goog-if-generation-match")
            if wanted is not None and not bucket.startswith("careless-"):
                there = things.get(name)
                if int(wanted) != (there.generation if there else 0):
                    return self.fail(412, "PreconditionFailed")
            things[name] = thing = Thing(body)
            forgets = bucket.startswith("forgetful-") and self.headers.get("User-Agent") != "foreign"
            if wanted is not None and forgets and (bucket, name) not in forgotten:
                forgotten[bucket, name] = number = len(forgotten)
                if number % 2:
                    self.close_connection = True
                    return None
                return self.fail(503, "ServiceUnavailable")
        if source is not None:
            return self.answer(200, b"<CopyObjectResult><ETag>%s</ETag></CopyObjectResult>" % thing.etag.encode())
        return self.answer(200, head=self.thing_head(thing))

    def do_POST(self):
        bucket, name, query = self.target()
        body = self.body()
        if "uploads" in query:
            upload = uuid.uuid4().hex
            with lock:
                if bucket not in buckets:
                    return self.fail(404, "NoSuchBucket")
                uploads[upload] = {}
            found = "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>" % upload
            return self.answer(200, found.encode())
        with lock:
            parts = uploads.pop(query.get("uploadId"), None)
            if parts is None:
                return self.fail(404, "NoSuchUpload")
            numbers = [int(n.text) for n in ET.fromstring(body).iter() if n.tag.endswith("PartNumber")]
            thing = buckets[bucket][name] = Thing(b"".join(parts[n].body for n in numbers))
        done = "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>" % escape(thing.etag)
        return self.answer(200, done.encode(), [("x-goog-generation", str(thing.generation))])

    def do_DELETE(self):
        bucket, name, query = self.target()
        with lock:
            if "uploadId" in query:
                gone = uploads.pop(query["uploadId"], None)
            else:
                gone = buckets.get(bucket, {}).pop(name, None)
        return self.answer(204) if gone else self.fail(404, "NoSuchKey")

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        bucket, name, query = self.target()
        with lock:
            things = buckets.get(bucket)
            if things is None:
                return self.fail(404, "NoSuchBucket")
            if not name:
                return self.list(sorted(things.items()), query)
            thing = things.get(name)
        if thing is None:
            return self.fail(404, "NoSuchKey")
        head = self.thing_head(thing)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not asked:
            return self.answer(200, thing.body, head)
        size = len(thing.body)
        if asked[1]:
            first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        else:
            first, last = max(size - int(asked[2]), 0), size - 1
        if first >= size:
            return self.answer(416, head=[("Content-Range", "bytes */%d" % size)])
        head.append(("Content-Range", "bytes %d-%d/%d" % (first, last, size)))
        return self.answer(206, thing.body[first : last + 1], head)

    def list(self, things, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("continuation-token") or query.get("start-after", "")
        most = min(int(query.get("max-keys", PAGE)), PAGE)
        found, folders, last, more = [], [], "", False
        for name, thing in things:
            if not name.startswith(prefix) or name <= after:
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            folder = name[: cut + 1] if cut >= 0 else None
            if folder and (folder in folders or after.startswith(folder)):
                last = name
                continue
            if len(found) + len(folders) == most:
                more = True
                break
            last = name
            if folder:
                folders.append(folder)
            else:
                when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(thing.time))
                found.append(
                    "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>%s</ETag><Size>%d</Size></Contents>"
                    % (escape(name), when, escape(thing.etag), len(thing.body))
                )
        text = "".join(found) + "".join(
            "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>" % escape(f) for f in folders
        )
        if more:
            text += "<NextContinuationToken>%s</NextContinuationToken>" % escape(last)
        self.answer(200, ("<ListBucketResult>%s</ListBucketResult>" % text).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
