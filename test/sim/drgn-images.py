"""Opens images of dump devices with drgn, in one process, and compares every page that drgn gives with the truth.

Each line of the manifest is a JSON object: `image`, `expect` ("none": drgn must not open it), `truth` (a file of
records of 8 bytes pfn and 4096 bytes page), `first` (pfns that must be there). Prints one line of JSON with counts;
the first wrong page ends it with status 1.
"""

import json
import struct
import sys

import drgn

PAGE = 4096


def read_truth(path, cache={}):
    if path not in cache:
        cache.clear()
        with open(path, "rb") as file:
            data = file.read()
        cache[path] = {
            struct.unpack_from("<Q", data, at)[0]: data[at + 8 : at + 8 + PAGE]
            for at in range(0, len(data), 8 + PAGE)
        }
    return cache[path]


def check(entry, counts):
    program = drgn.Program()
    try:
        program.set_core_dump(entry["image"])
    except Exception:
        counts["refused"] += 1
        return None if entry["expect"] == "none" else "drgn does not open it"
    if entry["expect"] == "none":
        return "drgn opens it"
    counts["opened"] += 1
    given = set()
    for pfn, page in read_truth(entry["truth"]).items():
        try:
            found = program.read(pfn * PAGE, PAGE, physical=True)
        except drgn.FaultError:
            continue
        given.add(pfn)
        if found != page:
            return f"pfn {pfn} is wrong"
    counts["pages"] += len(given)
    missing = [pfn for pfn in entry["first"] if pfn not in given]
    return f"pfn {missing[0]} of the first pass is missing" if missing else None


def main():
    counts = {"opened": 0, "refused": 0, "pages": 0}
    with open(sys.argv[1]) as manifest:
        for line in manifest:
            entry = json.loads(line)
            problem = check(entry, counts)
            if problem:
                print(f"{entry['image']}: {problem}")
                return 1
    print(json.dumps(counts))
    return 0


sys.exit(main())
