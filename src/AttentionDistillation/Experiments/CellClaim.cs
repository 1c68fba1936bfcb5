namespace AttentionDistillation.Experiments;

/// <summary>
/// The right to compute a cell, held by one process at a time: an open, locked file beside the cell's own. The system frees it when the process ends, however it
/// ends.
/// </summary>
internal sealed class CellClaim : IDisposable
{
    internal const string Suffix = ".claim";

    private const int Attempts = 10;

    private readonly string path;
    private readonly FileStream file;

    private CellClaim(string path, FileStream file) => (this.path, this.file) = (path, file);

    /// <summary>Takes a cell if no other process has it.</summary>
    /// <param name="cell">The cell's file, there or not.</param>
    /// <param name="isTaken">Whether another process has it.</param>
    /// <returns>The claim; null when another has it, or where files cannot be locked: there each process computes for itself.</returns>
    internal static CellClaim? Take(string cell, out bool isTaken)
    {
        string path = cell + Suffix;
        isTaken = false;
        for (int attempt = 0; attempt < Attempts; attempt++)
            try
            {
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                return new(path, new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.None));
            }
            catch (IOException) when (File.Exists(path))
            {
                isTaken = true;
                return null;
            }
            catch (IOException)
            {
                // Its holder let go between the two looks, so that the file is gone by now: take it. Where files cannot be made at all, this ends soon.
            }
            catch (UnauthorizedAccessException)
            {
                return null;
            }
        return null;
    }

    /// <summary>Gives the cell back.</summary>
    public void Dispose()
    {
        // Removed first: who opened it in between finds it locked or gone, and looks for the cell again before computing.
        try
        {
            File.Delete(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // An empty file stays behind; it claims nothing.
        }
        file.Dispose();
    }
}
