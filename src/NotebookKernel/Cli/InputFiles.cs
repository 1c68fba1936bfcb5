namespace NotebookKernel.Cli;

/// <summary>Turns the files and patterns of a command line into notebooks.</summary>
internal static class InputFiles
{
    /// <summary>Expands patterns, makes paths absolute, keeps the order, drops repetitions.</summary>
    /// <exception cref="BadInputException">A pattern matches nothing, or two notebooks would share an output file.</exception>
    internal static IReadOnlyList<string> Expand(IReadOnlyList<string> named)
    {
        var files = new List<string>();
        foreach (string name in named)
        foreach (string file in ExpandOne(name))
            if (!files.Contains(file))
                files.Add(file);
        if (files.GroupBy(Path.GetFileName).FirstOrDefault(group => group.Count() > 1) is { } clash)
            throw new BadInputException(
                $"Two notebooks are named '{clash.Key}', so one would overwrite the other. Run them one by one with different --output folders."
            );
        return files;
    }

    private static IEnumerable<string> ExpandOne(string name)
    {
        if (name.Length == 0)
            throw new BadInputException("A file name is empty.");
        if (name.StartsWith('-'))
            throw new BadInputException($"Unknown option '{name}'. See 'research run --help'.");
        string pattern = Path.GetFileName(name);
        if (!pattern.AsSpan().ContainsAny('*', '?') || File.Exists(name))
            return [Path.GetFullPath(name)];
        string folder = Path.GetFullPath(Path.GetDirectoryName(name) is { Length: > 0 } named ? named : ".");
        string[] found = Directory.Exists(folder) ? Directory.GetFiles(folder, pattern) : [];
        if (found.Length == 0)
            throw new BadInputException($"No file matches '{name}'.");
        Array.Sort(found, StringComparer.Ordinal);
        return found;
    }
}
