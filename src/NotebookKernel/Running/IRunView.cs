using AttentionDistillation.Runtime;
using NotebookKernel.Documents;
using NotebookKernel.Session;

namespace NotebookKernel.Running;

/// <summary>Shows a run to whoever watches. Calls may come from several threads, one notebook at a time.</summary>
public interface IRunView : IProgressSink, IDisposable
{
    /// <summary>A notebook begins.</summary>
    void NotebookStarted(string name, string title, Provenance provenance, int cells);

    /// <summary>A code cell begins.</summary>
    void CellStarted(int number, int cells, NotebookCell cell);

    /// <summary>The running cell did something.</summary>
    void Happened(CellEvent happened);

    /// <summary>The running cell ended.</summary>
    void CellEnded(CellStatus status, TimeSpan elapsed);

    /// <summary>The user asked to stop; the cell has not stopped yet.</summary>
    void Stopping();

    /// <summary>The notebook is done with, whatever the outcome.</summary>
    void NotebookEnded(RunReport report);
}
