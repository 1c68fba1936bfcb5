namespace NotebookKernel.Documents;

/// <summary>Writes files whole or not at all.</summary>
internal static class AtomicFile
{
    /// <summary>Writes text beside the target under a temporary name, then renames it over the target.</summary>
    internal static void WriteAllText(string path, string text)
    {
        string partial = $"{path}.{Guid.NewGuid():N}.partial";
        try
        {
            File.WriteAllText(partial, text);
            File.Move(partial, path, overwrite: true);
        }
        catch
        {
            File.Delete(partial);
            throw;
        }
    }

    /// <summary>Makes sure that a folder exists and takes files; throws what the system says if not.</summary>
    internal static void RequireWritable(string folder)
    {
        Directory.CreateDirectory(folder);
        string probe = Path.Combine(folder, $".{Guid.NewGuid():N}.partial");
        File.WriteAllBytes(probe, []);
        File.Delete(probe);
    }
}
