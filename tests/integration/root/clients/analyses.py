"""What analysts do with the files they are told of, each in the way of its own library.

Called with the name of a way, a tree, columns joined by commas, and files, which may be
paths or URLs. What was found is the last line printed, as JSON.
"""

import json
import sys
import zlib

WAY, TREE, COLUMNS, *FILES = sys.argv[1:]


def summed(array):
    """Enough of an array to tell any of its values from others."""
    values = array.to_list()
    return len(values), zlib.crc32(json.dumps(values).encode())


def all_summed(arrays):
    return [summed(arrays[column]) for column in COLUMNS.split(",")]


def uproot_open():
    import uproot

    with uproot.open(f"{FILES[0]}:{TREE}") as tree:
        return [tree.num_entries, len(tree.keys()), all_summed(tree.arrays(COLUMNS.split(",")))]


def uproot_concatenate():
    import uproot

    return all_summed(uproot.concatenate(dict.fromkeys(FILES, TREE), COLUMNS.split(",")))


def uproot_iterate():
    import uproot

    files = dict.fromkeys(FILES, TREE)
    return [len(part) for part in uproot.iterate(files, COLUMNS.split(","), step_size=500)]


def uproot_dask():
    import uproot

    arrays = uproot.dask(dict.fromkeys(FILES, TREE), open_files=False)
    return all_summed({column: arrays[column].compute() for column in COLUMNS.split(",")})


def coffea():
    import dask
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    dask.config.set(scheduler="synchronous")
    NanoAODSchema.warn_missing_crossrefs = False
    factory = NanoEventsFactory.from_root(
        {FILES[0]: TREE}, schemaclass=NanoAODSchema, mode="virtual"
    )
    events = factory.events()
    found = {}
    for column in COLUMNS.split(","):
        collection, _, field = column.partition("_")
        if field:
            found[column] = summed(events[collection][field])
    return found


def root_open():
    import ROOT

    file = ROOT.TFile.Open(FILES[0])
    assert file
    assert not file.IsZombie()
    tree = file.Get(TREE)
    found = [file.GetSize(), len(file.GetListOfKeys()), tree.GetEntries()]
    for column in COLUMNS.split(","):
        filled = tree.Draw(f"{column}>>{column}(100)", "", "goff")
        found.append([filled, ROOT.gDirectory.Get(column).GetMean()])
    file.Close()
    return found


def root_frame():
    import ROOT

    chain = ROOT.TChain(TREE)
    for file in FILES:
        chain.Add(file)
    frame = ROOT.RDataFrame(chain)
    count = frame.Count()
    sums = [frame.Sum(column) for column in COLUMNS.split(",")]
    return [count.GetValue(), [one.GetValue() for one in sums]]


WAYS = {
    way.__name__: way
    for way in (
        uproot_open,
        uproot_concatenate,
        uproot_iterate,
        uproot_dask,
        coffea,
        root_open,
        root_frame,
    )
}
print(json.dumps(WAYS[WAY]()))
