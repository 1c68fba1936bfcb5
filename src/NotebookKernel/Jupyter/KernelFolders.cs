namespace NotebookKernel.Jupyter;

/// <summary>Where Jupyter clients look for kernels.</summary>
internal static class KernelFolders
{
    private const string Kernels = "kernels";

    /// <summary>The folder of the user's own kernels.</summary>
    internal static string User => Path.Combine(UserData, Kernels);

    /// <summary>The folder of kernels below an installation prefix, for example a virtual environment.</summary>
    internal static string OfPrefix(string prefix) => Path.Combine(Path.GetFullPath(prefix), "share", "jupyter", Kernels);

    /// <summary>All folders, in the order in which clients look: the first of several kernels of one name counts.</summary>
    internal static IReadOnlyList<string> All
    {
        get
        {
            var data = new List<string>();
            if (Environment.GetEnvironmentVariable("JUPYTER_PATH") is { Length: > 0 } path)
                data.AddRange(path.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries));
            data.Add(UserData);
            foreach (string variable in (string[])["VIRTUAL_ENV", "CONDA_PREFIX"])
                if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } prefix)
                    data.Add(Path.Combine(prefix, "share", "jupyter"));
            if (OperatingSystem.IsWindows())
                data.Add(Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData), "jupyter"));
            else
                data.AddRange(["/usr/local/share/jupyter", "/usr/share/jupyter"]);
            return [.. data.Select(folder => Path.Combine(folder, Kernels)).Distinct(StringComparer.Ordinal)];
        }
    }

    // As Jupyter finds it on each system.
    private static string UserData
    {
        get
        {
            if (Environment.GetEnvironmentVariable("JUPYTER_DATA_DIR") is { Length: > 0 } given)
                return Path.GetFullPath(given);
            string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
            if (OperatingSystem.IsMacOS())
                return Path.Combine(home, "Library", "Jupyter");
            if (OperatingSystem.IsWindows())
                return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ApplicationData), "jupyter");
            return Environment.GetEnvironmentVariable("XDG_DATA_HOME") is { Length: > 0 } shared
                ? Path.Combine(shared, "jupyter")
                : Path.Combine(home, ".local", "share", "jupyter");
        }
    }
}
