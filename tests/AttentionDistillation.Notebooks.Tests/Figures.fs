/// What tests read from a chart's JSON.
module internal AttentionDistillation.Notebooks.Tests.Figures

open System
open System.Text.Json
open Plotly.NET
open Xunit
open AttentionDistillation.Notebooks

let parse (chart: GenericChart) =
    JsonDocument.Parse(ChartOutput.json chart).RootElement

let trace index (figure: JsonElement) = figure.GetProperty("data")[index]

let numbers (element: JsonElement) = [|
    for item in element.EnumerateArray() -> if item.ValueKind = JsonValueKind.Null then nan else item.GetDouble()
|]

let rows (element: JsonElement) = [| for row in element.EnumerateArray() -> numbers row |]

let strings (element: JsonElement) = [| for item in element.EnumerateArray() -> nonNull (item.GetString()) |]

let message (action: unit -> GenericChart) =
    (Assert.Throws<ArgumentException>(Action(fun () -> action () |> ignore))).Message
