// The kernels of runtime/kernels, as the fake driver starts them.
#pragma once

#include <functional>
#include <string>

struct Launch
{
    unsigned columns, rows;           // blocks
    unsigned blockWidth, blockHeight; // threads of a block
};

// Takes the values of the arguments, as cuLaunchKernel does, and gives the work; empty if there is no such kernel.
using Kernel = std::function<std::function<void()>(Launch, void** arguments)>;

Kernel findKernel(std::string const& name);

// Bytes of the device memory that begins at an address; 0 if none does.
size_t blockBytes(void const* address);

// Ends the process where a rule is broken that a real device would answer with a crash, or not at all.
void require(bool kept, char const* rule);
