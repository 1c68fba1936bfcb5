using System.Reflection;
using Microsoft.FSharp.Control;
using Microsoft.FSharp.Core;

namespace NotebookKernel.Session;

/// <summary>Waits for a cell's result where that is a task or an F# async computation.</summary>
internal static class AsyncValues
{
    /// <summary>The value itself, or what the task or computation gives; null for one without a result.</summary>
    internal static object? Await(object? value, Type type)
    {
        if (value is Task task)
        {
            task.GetAwaiter().GetResult();
            return ResultOf(task);
        }
        if (value is not null && type.IsGenericType && type.GetGenericTypeDefinition() == typeof(FSharpAsync<>))
        {
            var start = typeof(FSharpAsync)
                .GetMethod(nameof(FSharpAsync.StartAsTask), BindingFlags.Public | BindingFlags.Static)!
                .MakeGenericMethod(type.GetGenericArguments());
            return Await(start.Invoke(null, [value, null, null]), typeof(Task));
        }
        return value;
    }

    // Tasks without a result are, at run time, tasks of a hidden type of nothing.
    private static object? ResultOf(Task task)
    {
        for (var type = task.GetType(); type is not null; type = type.BaseType)
            if (type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Task<>))
            {
                var result = type.GetGenericArguments()[0];
                bool none = result == typeof(Unit) || result.Name == "VoidTaskResult";
                return none ? UnitValue : type.GetProperty("Result")!.GetValue(task);
            }
        return UnitValue;
    }

    private static readonly object UnitValue = Activator.CreateInstance(typeof(Unit), nonPublic: true)!;
}
