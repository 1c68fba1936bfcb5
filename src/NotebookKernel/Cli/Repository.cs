namespace NotebookKernel.Cli;

/// <summary>Finds the repository the user stands in.</summary>
internal static class Repository
{
    private const string Landmark = "Research.sln";

    /// <summary>The nearest folder, upwards, with the solution in it; null outside.</summary>
    internal static string? Find(string from)
    {
        for (var folder = new DirectoryInfo(from); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, Landmark)))
                return folder.FullName;
        return null;
    }
}
