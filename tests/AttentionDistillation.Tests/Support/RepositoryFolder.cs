namespace AttentionDistillation.Tests.Support;

/// <summary>Paths in the checkout the tests run from.</summary>
internal static class RepositoryFolder
{
    /// <summary>The folder that holds Research.sln.</summary>
    internal static string Root { get; } = Find();

    /// <summary>A path below the root.</summary>
    internal static string At(params string[] parts) => Path.Combine([Root, .. parts]);

    private static string Find()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Research.sln")))
                return folder.FullName;
        throw new DirectoryNotFoundException(
            $"No Research.sln in any folder above '{AppContext.BaseDirectory}': run the tests from a checkout."
        );
    }
}
