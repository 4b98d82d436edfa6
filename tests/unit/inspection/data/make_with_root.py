"""Makes clusters.root and unclosed.root with ROOT, and prints how ROOT cuts each tree.

Run with a Python that has ROOT (6.36 or later): python make_with_root.py
"""

from __future__ import annotations

import json
import shutil
from array import array

import ROOT


def fill(tree, count, value):
    """Fills the tree with `count` entries."""
    for _ in range(count):
        value[0] += 1
        tree.Fill()


def clusters(tree):
    """The ends of the tree's clusters, as ROOT iterates over them."""
    iterator = tree.GetClusterIterator(0)
    ends = []
    while iterator.Next() < tree.GetEntries():
        ends.append(iterator.GetNextEntry())
    return ends


def main():
    """Makes the files in the current directory."""
    value = array("i", [0])
    file = ROOT.TFile("clusters.root", "RECREATE")
    shutil.copy("clusters.root", "unclosed.root")
    file.SetCompressionLevel(9)
    trees = []

    def tree(name, title=""):
        made = ROOT.TTree(name, title)
        made.Branch("number", value, "number/I")
        made.SetAutoFlush(0)
        trees.append(made)
        return made

    steady = tree("steady")
    steady.SetAutoFlush(100)
    fill(steady, 450, value)

    changing = tree("changing")
    changing.SetAutoFlush(100)
    fill(changing, 250, value)
    changing.SetAutoFlush(40)
    fill(changing, 130, value)
    changing.SetAutoFlush(500)
    fill(changing, 70, value)

    late = tree("late")
    fill(late, 30, value)
    late.SetAutoFlush(40)
    fill(late, 100, value)
    late.SetAutoFlush(-30000000)
    fill(late, 25, value)

    unmarked = tree("unmarked")
    for count in (60, 60, 15):
        fill(unmarked, count, value)
        unmarked.FlushBaskets()

    tree("empty")

    file.mkdir("deep").mkdir("deeper").cd()
    nested = tree("nested")
    nested.SetAutoFlush(10)
    fill(nested, 25, value)

    file.cd()
    again = tree("again")
    fill(again, 5, value)
    again.Write()
    fill(again, 5, value)
    again.Write("", 0)
    numbers = ROOT.TNtuple("pairs", "", "x:y")
    numbers.SetAutoFlush(3)
    for i in range(7):
        numbers.Fill(i, 2 * i)
    trees.append(numbers)
    for made in trees:
        if made.GetName() != "again":
            made.GetDirectory().WriteTObject(made)
    truth = {
        made.GetName(): [made.GetEntries(), clusters(made), made.GetAutoFlush()] for made in trees
    }

    model = ROOT.RNTupleModel.Create()
    model.MakeField["int"]("number")
    with ROOT.RNTupleWriter.Append(model, "ntuple", file) as writer:
        entry = writer.CreateEntry()
        for i in range(95):
            entry["number"] = i
            writer.Fill(entry)
            if i % 30 == 29:
                writer.CommitCluster()
    truth["uuid"] = file.GetUUID().AsString()
    file.Close()
    print(json.dumps(truth, indent=1))


if __name__ == "__main__":
    main()
