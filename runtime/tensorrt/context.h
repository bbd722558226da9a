// Runs of a plan.
#pragma once

#include <NvInferRuntime.h>

#include <memory>

#include "device_abi.h"
#include "queue.h"

namespace deltaport::device {

struct Context {
  Queue* queue;
  std::unique_ptr<nvinfer1::IExecutionContext> made;
};

Context* open_context(Queue* queue, int32_t profile, Problem* problem);
void close_context(Context* context);
bool set_input(Context* context, const char* name, const Shape* shape, const void* address,
               Problem* problem);
bool set_output(Context* context, const char* name, void* address, Problem* problem);
bool enqueue(Context* context, Problem* problem);
Graph* record(Context* context, Problem* problem);
bool launch(Graph* graph, Problem* problem);
void release_graph(Graph* graph);

}  // namespace deltaport::device
